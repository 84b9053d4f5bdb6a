// Checks what a running hallmark issues with snapd's own assertion library: fetches the brand's account,
// account-keys and model, registers a device as snapd does, and adds everything to the library's database, which
// trusts nothing but the given root.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/snapcore/snapd/asserts"
)

var passed, failed int

// check reports one result; a failure does not end the run, so that one run shows all of them.
func check(name string, err error) bool {
	if err != nil {
		failed++
		fmt.Printf("FAIL %s: %v\n", name, err)
		return false
	}
	passed++
	fmt.Printf("ok   %s\n", name)
	return true
}

// refused reports whether err is there and mentions every one of words.
func refused(name string, err error, words ...string) {
	if err == nil {
		check(name, errors.New("it was accepted"))
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			check(name, fmt.Errorf("refused, but for another reason: %v", err))
			return
		}
	}
	check(name, nil)
}

func main() {
	server := flag.String("server", "", "base URL of hallmark")
	trusted := flag.String("trusted", "", "file with the root's account and account-key")
	foreign := flag.String("foreign", "", "file with another root's account and account-key")
	brand := flag.String("brand", "", "brand id")
	model := flag.String("model", "", "model name")
	apiKey := flag.String("api-key", "", "API key of the model")
	serial := flag.String("serial", "", "serial number to propose")
	flag.Parse()

	store := client{base: strings.TrimSuffix(*server, "/")}
	db, err := openDatabase(*trusted)
	if !check("the root's account and account-key open a database", err) {
		os.Exit(1)
	}

	modelRef := &asserts.Ref{Type: asserts.ModelType, PrimaryKey: []string{"16", *brand, *model}}
	check("account, account-key and model add up from the root", store.fetcher(db).Fetch(modelRef))
	account, err := db.Find(asserts.AccountType, map[string]string{"account-id": *brand})
	check("the brand's account is in the database", err)
	if err == nil && account.AuthorityID() == *brand {
		check("the account is signed by the root", errors.New("the brand signed its own account"))
	}

	deviceKey, err := asserts.GenerateKey()
	if !check("a device key is made", err) {
		os.Exit(1)
	}
	first, err := store.register(db, *apiKey, *brand, *model, *serial, deviceKey)
	if check("a serial-request of the library gets a serial", err) {
		checkSerial(db, store, first, *brand, *model, *serial, deviceKey)
		again, err := store.register(db, *apiKey, *brand, *model, *serial, deviceKey)
		if check("the same device gets its serial again", err) {
			check("the second serial supersedes the first", add(db, store, again))
			if again.Revision() != first.Revision()+1 {
				check("revisions are dense", fmt.Errorf("%d follows %d", again.Revision(), first.Revision()))
			} else {
				check("revisions are dense", nil)
			}
		}
		tampered := bytes.Replace(asserts.Encode(first), []byte("\nserial: "), []byte("\nserial: X"), 1)
		other, err := asserts.Decode(tampered)
		if err == nil {
			err = db.Check(other)
		}
		refused("a serial that was changed afterwards is refused", err, "signature")

		strange, err := openDatabase(*foreign)
		if check("another root opens a database", err) {
			refused("a device with another root does not believe the serial", add(strange, store, first), "account-key")
		}
	}

	_, err = store.register(db, "wrong-"+*apiKey, *brand, *model, *serial, deviceKey)
	refused("a wrong API key gets nothing", err, "400")

	fmt.Printf("asserts library: %d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

// checkSerial adds a serial with everything it rests on, and compares it with what was asked for.
func checkSerial(db *asserts.Database, store client, got *asserts.Serial, brand, model, serial string, key asserts.PrivateKey) {
	check("the serial adds up from the root", add(db, store, got))
	found, err := db.Find(asserts.SerialType, map[string]string{"brand-id": brand, "model": model, "serial": serial})
	if !check("the serial is in the database", err) {
		return
	}
	wanted := found.(*asserts.Serial)
	if wanted.DeviceKey().ID() != key.PublicKey().ID() {
		err = errors.New("it names another device key")
	}
	check("the serial carries the device's key", err)
	err = nil
	if wanted.AuthorityID() != brand {
		err = fmt.Errorf("authority-id is %s", wanted.AuthorityID())
	}
	check("the brand signed the serial", err)
}

func openDatabase(rootFile string) (*asserts.Database, error) {
	file, err := os.Open(rootFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	root, err := decodeAll(file)
	if err != nil {
		return nil, err
	}
	return asserts.OpenDatabase(&asserts.DatabaseConfig{Trusted: root, Backstore: asserts.NewMemoryBackstore()})
}

// add adds an assertion and everything it rests on, fetched from the store, as a device does.
func add(db *asserts.Database, store client, assertion asserts.Assertion) error {
	return store.fetcher(db).Save(assertion)
}

type client struct{ base string }

func (c client) fetcher(db *asserts.Database) asserts.Fetcher {
	retrieve := func(ref *asserts.Ref) (asserts.Assertion, error) {
		if found, err := ref.Resolve(db.Find); err == nil {
			return found, nil
		}
		path := c.base + "/v2/assertions/" + ref.Type.Name + "/" + strings.Join(ref.PrimaryKey, "/")
		request, err := http.NewRequest("GET", path, nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Accept", asserts.MediaType)
		body, err := send(request)
		if err != nil {
			return nil, fmt.Errorf("cannot fetch %s: %v", ref, err)
		}
		return asserts.Decode(body)
	}
	save := func(assertion asserts.Assertion) error {
		err := db.Add(assertion)
		if revision, ok := err.(*asserts.RevisionError); ok && revision.Current == assertion.Revision() {
			return nil
		}
		return err
	}
	return asserts.NewFetcher(db, retrieve, save)
}

// register asks for a serial the way snapd does: request-id, serial-request signed by the device key, then the model.
func (c client) register(db *asserts.Database, apiKey, brand, model, serial string, key asserts.PrivateKey) (*asserts.Serial, error) {
	request, err := http.NewRequest("POST", c.base+"/v1/request-id", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("api-key", apiKey)
	answer, err := send(request)
	if err != nil {
		return nil, fmt.Errorf("cannot get a request-id: %v", err)
	}
	var ticket struct {
		RequestID string `json:"request-id"`
	}
	if err := json.Unmarshal(answer, &ticket); err != nil {
		return nil, err
	}

	public, err := asserts.EncodePublicKey(key.PublicKey())
	if err != nil {
		return nil, err
	}
	ask, err := asserts.SignWithoutAuthority(asserts.SerialRequestType, map[string]interface{}{
		"brand-id": brand, "model": model, "request-id": ticket.RequestID, "device-key": string(public), "serial": serial,
	}, []byte("mac: 00:11:22:33:44:55\n"), key)
	if err != nil {
		return nil, err
	}
	stored, err := db.Find(asserts.ModelType, map[string]string{"series": "16", "brand-id": brand, "model": model})
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	encoder := asserts.NewEncoder(&body)
	for _, assertion := range []asserts.Assertion{ask, stored} {
		if err := encoder.Encode(assertion); err != nil {
			return nil, err
		}
	}

	request, err = http.NewRequest("POST", c.base+"/v1/serial", &body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("api-key", apiKey)
	request.Header.Set("Content-Type", asserts.MediaType)
	request.Header.Set("Snap-Device-Capabilities", "serial-stream")
	answer, err = send(request)
	if err != nil {
		return nil, fmt.Errorf("cannot get a serial: %v", err)
	}
	all, err := decodeAll(bytes.NewReader(answer))
	if err != nil {
		return nil, err
	}
	var found *asserts.Serial
	for _, assertion := range all {
		if candidate, ok := assertion.(*asserts.Serial); ok {
			if found != nil {
				return nil, errors.New("the answer has two serials")
			}
			found = candidate
		}
	}
	if found == nil {
		return nil, errors.New("the answer has no serial")
	}
	return found, nil
}

func send(request *http.Request) ([]byte, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return body, nil
}

func decodeAll(reader io.Reader) ([]asserts.Assertion, error) {
	decoder := asserts.NewDecoder(reader)
	var all []asserts.Assertion
	for {
		assertion, err := decoder.Decode()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, assertion)
	}
}

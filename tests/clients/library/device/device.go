// Package device acts as a device: registers with hallmark and fetches assertions, all with snapd's own library.
package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/snapcore/snapd/asserts"
)

// OpenDatabase opens a database that trusts nothing but the assertions in a file.
func OpenDatabase(rootFile string) (*asserts.Database, error) {
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

// Add adds an assertion and everything it rests on, fetched from the store, as a device does.
func (c Client) Add(db *asserts.Database, assertion asserts.Assertion) error {
	return c.Fetcher(db).Save(assertion)
}

// A Client asks a server.
type Client struct{ base string }

// New returns a client of the server at that URL.
func New(base string) Client { return Client{strings.TrimSuffix(base, "/")} }

// Fetcher fetches assertions with their prerequisites into a database.
func (c Client) Fetcher(db *asserts.Database) asserts.Fetcher {
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

// Register asks for a serial the way snapd does: request-id, serial-request signed by the device key, then the model.
func (c Client) Register(db *asserts.Database, apiKey, brand, model, serial string, key asserts.PrivateKey) (*asserts.Serial, error) {
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

// Now is the time as assertions say it.
func Now() string { return time.Now().UTC().Format(time.RFC3339) }

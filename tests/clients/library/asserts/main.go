// Checks what a running hallmark issues with snapd's own assertion library: fetches the brand's account,
// account-keys and model, registers a device as snapd does, and adds everything to the library's database, which
// trusts nothing but the given root.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/snapcore/snapd/asserts"

	"hallmark.test/library/check"
	"hallmark.test/library/device"
)

func main() {
	server := flag.String("server", "", "base URL of hallmark")
	trusted := flag.String("trusted", "", "file with the root's account and account-key")
	foreign := flag.String("foreign", "", "file with another root's account and account-key")
	brand := flag.String("brand", "", "brand id")
	model := flag.String("model", "", "model name")
	apiKey := flag.String("api-key", "", "API key of the model")
	serial := flag.String("serial", "", "serial number to propose")
	flag.Parse()

	store := device.New(*server)
	db, err := device.OpenDatabase(*trusted)
	if !check.That("the root's account and account-key open a database", err) {
		os.Exit(1)
	}

	modelRef := &asserts.Ref{Type: asserts.ModelType, PrimaryKey: []string{"16", *brand, *model}}
	check.That("account, account-key and model add up from the root", store.Fetcher(db).Fetch(modelRef))
	account, err := db.Find(asserts.AccountType, map[string]string{"account-id": *brand})
	check.That("the brand's account is in the database", err)
	if err == nil && account.AuthorityID() == *brand {
		check.That("the account is signed by the root", errors.New("the brand signed its own account"))
	}

	deviceKey, err := asserts.GenerateKey()
	if !check.That("a device key is made", err) {
		os.Exit(1)
	}
	first, err := store.Register(db, *apiKey, *brand, *model, *serial, deviceKey)
	if check.That("a serial-request of the library gets a serial", err) {
		checkSerial(db, store, first, *brand, *model, *serial, deviceKey)
		again, err := store.Register(db, *apiKey, *brand, *model, *serial, deviceKey)
		if check.That("the same device gets its serial again", err) {
			check.That("the second serial supersedes the first", store.Add(db, again))
			if again.Revision() != first.Revision()+1 {
				check.That("revisions are dense", fmt.Errorf("%d follows %d", again.Revision(), first.Revision()))
			} else {
				check.That("revisions are dense", nil)
			}
		}
		tampered := bytes.Replace(asserts.Encode(first), []byte("\nserial: "), []byte("\nserial: X"), 1)
		other, err := asserts.Decode(tampered)
		if err == nil {
			err = db.Check(other)
		}
		check.Refused("a serial that was changed afterwards is refused", err, "signature")

		strange, err := device.OpenDatabase(*foreign)
		if check.That("another root opens a database", err) {
			check.Refused("a device with another root does not believe the serial", store.Add(strange, first), "account-key")
		}
	}

	_, err = store.Register(db, "wrong-"+*apiKey, *brand, *model, *serial, deviceKey)
	check.Refused("a wrong API key gets nothing", err, "400")

	check.Finish("asserts library")
}

// checkSerial adds a serial with everything it rests on, and compares it with what was asked for.
func checkSerial(db *asserts.Database, store device.Client, got *asserts.Serial, brand, model, serial string, key asserts.PrivateKey) {
	check.That("the serial adds up from the root", store.Add(db, got))
	found, err := db.Find(asserts.SerialType, map[string]string{"brand-id": brand, "model": model, "serial": serial})
	if !check.That("the serial is in the database", err) {
		return
	}
	wanted := found.(*asserts.Serial)
	if wanted.DeviceKey().ID() != key.PublicKey().ID() {
		err = errors.New("it names another device key")
	}
	check.That("the serial carries the device's key", err)
	err = nil
	if wanted.AuthorityID() != brand {
		err = fmt.Errorf("authority-id is %s", wanted.AuthorityID())
	}
	check.That("the brand signed the serial", err)
}

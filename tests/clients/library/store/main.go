// Asks a running hallmark everything that snapd's own `store` package can ask, as a registered device with a real
// session. What is in the store is said in ../../suites/store-library.sh.
package main

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/snapcore/snapd/asserts"
	"github.com/snapcore/snapd/dirs"
	"github.com/snapcore/snapd/osutil"
	"github.com/snapcore/snapd/overlord/auth"
	"github.com/snapcore/snapd/progress"
	"github.com/snapcore/snapd/snap"
	"github.com/snapcore/snapd/store"

	"hallmark.test/library/check"
	"hallmark.test/library/device"
)

var ctx = context.Background()

// A shop is the store under test, and what we need to use it.
type shop struct {
	server, brand, files, hallmark string
	trusted                        string
	base                           *url.URL
}

func main() {
	var at shop
	flag.StringVar(&at.server, "server", "", "base URL of hallmark")
	flag.StringVar(&at.trusted, "trusted", "", "file with the root's account and account-key")
	flag.StringVar(&at.brand, "brand", "", "brand id, and its store")
	flag.StringVar(&at.files, "files", "", "folder with the files that were published")
	flag.StringVar(&at.hallmark, "hallmark", "", "hallmark, to release with")
	model := flag.String("model", "", "model name")
	apiKey := flag.String("api-key", "", "API key of the model")
	serial := flag.String("serial", "", "serial number to propose")
	otherBrand := flag.String("other-brand", "", "another brand")
	otherModel := flag.String("other-model", "", "its model")
	otherAPIKey := flag.String("other-api-key", "", "the API key of that")
	sets := flag.String("set", "", "name of a validation-set with sequences 1 and 2")
	flag.Parse()

	below, err := os.MkdirTemp("", "store-library")
	if !check.That("a folder for downloads is made", err) {
		os.Exit(1)
	}
	defer os.RemoveAll(below)
	// The library looks for this folder to tell where snaps are mounted.
	check.That("a system with snaps is made", os.Mkdir(filepath.Join(below, "snap"), 0o755))
	dirs.SetRootDir(below)
	// The daemon puts its rules about interfaces in here; they are no business of a store.
	snap.SanitizePlugsSlots = func(*snap.Info) {}
	at.base, err = url.Parse(at.server + "/")
	if !check.That("the address of the server is one", err) {
		os.Exit(1)
	}

	identity, err := at.register(*apiKey, at.brand, *model, *serial)
	if !check.That("a device registers", err) {
		os.Exit(1)
	}
	own := at.open(identity)
	at.session(own, identity)
	hello := at.install(own)
	at.errors(own)
	if hello != nil {
		at.refresh(own, hello.SnapID)
		at.assertions(own, identity, hello, *sets)
	}
	at.look(own)
	at.cohorts(own)
	at.downloads(own, below)
	at.deltas(own, below)
	at.renewal(own, identity)

	stranger, err := at.register(*otherAPIKey, *otherBrand, *otherModel, *serial)
	if check.That("a device of another brand registers", err) {
		at.separation(own, at.open(stranger), stranger, below)
	}
	os.RemoveAll(below)
	check.Finish("store library")
}

// identity is who the device is: snapd keeps this in its state.
type identity struct {
	state  auth.DeviceState
	db     *asserts.Database
	key    asserts.PrivateKey
	serial *asserts.Serial
	model  *asserts.Model
}

func (at shop) register(apiKey, brand, model, serial string) (*identity, error) {
	db, err := device.OpenDatabase(at.trusted)
	if err != nil {
		return nil, err
	}
	client := device.New(at.server)
	ref := &asserts.Ref{Type: asserts.ModelType, PrimaryKey: []string{"16", brand, model}}
	if err := client.Fetcher(db).Fetch(ref); err != nil {
		return nil, err
	}
	found, err := ref.Resolve(db.Find)
	if err != nil {
		return nil, err
	}
	key, err := asserts.GenerateKey()
	if err != nil {
		return nil, err
	}
	got, err := client.Register(db, apiKey, brand, model, serial, key)
	if err != nil {
		return nil, err
	}
	state := auth.DeviceState{Brand: brand, Model: model, Serial: got.Serial(), KeyID: key.PublicKey().ID()}
	return &identity{state: state, db: db, key: key, serial: got, model: found.(*asserts.Model)}, nil
}

// What store.DeviceAndAuthContext asks for.

func (i *identity) Device() (*auth.DeviceState, error) {
	state := i.state
	return &state, nil
}

func (i *identity) UpdateDeviceAuth(_ *auth.DeviceState, session string) (*auth.DeviceState, error) {
	i.state.SessionMacaroon = session
	return i.Device()
}

func (i *identity) UpdateUserAuth(user *auth.UserState, _ []string) (*auth.UserState, error) {
	return user, nil
}

func (i *identity) StoreID(string) (string, error) { return i.model.Store(), nil }

func (i *identity) DeviceSessionRequestParams(nonce string) (*store.DeviceSessionRequestParams, error) {
	request, err := asserts.SignWithoutAuthority(asserts.DeviceSessionRequestType, map[string]interface{}{
		"brand-id": i.state.Brand, "model": i.state.Model, "serial": i.state.Serial, "nonce": nonce,
		"timestamp": device.Now(),
	}, nil, i.key)
	if err != nil {
		return nil, err
	}
	params := &store.DeviceSessionRequestParams{
		Request: request.(*asserts.DeviceSessionRequest), Serial: i.serial, Model: i.model,
	}
	return params, nil
}

func (i *identity) ProxyStoreParams(usual *url.URL) (string, *url.URL, error) { return "", usual, nil }
func (i *identity) CloudInfo() (*auth.CloudInfo, error)                       { return nil, nil }
func (i *identity) StoreOffline() (bool, error)                               { return false, nil }
func (i *identity) WithSnapStoreDelta() bool                                  { return false }

// open returns a store client; without an identity, one of somebody who has none.
func (at shop) open(who *identity) *store.Store {
	config := *store.DefaultConfig()
	config.StoreBaseURL, config.AssertionsBaseURL = at.base, at.base
	config.Architecture, config.Series = "amd64", "16"
	if who == nil {
		return store.New(&config, nil)
	}
	return store.New(&config, who)
}

func (at shop) session(st *store.Store, who *identity) {
	var err error
	switch ensure := any(st).(type) {
	case interface{ EnsureDeviceSession() error }:
		err = ensure.EnsureDeviceSession()
	default:
		err = errors.New("the library has no EnsureDeviceSession")
	}
	check.That("the device opens a session", err)
	if who.state.SessionMacaroon == "" {
		err = errors.New("there is none")
	}
	check.That("it holds the session", err)
}

// act asks for actions, and returns the results by instance name.
func act(st *store.Store, current []*store.CurrentSnap, actions ...*store.SnapAction) (map[string]store.SnapActionResult, error) {
	results, _, err := st.SnapAction(ctx, current, actions, nil, nil, &store.RefreshOptions{PrivacyKey: "salt"})
	named := make(map[string]store.SnapActionResult)
	for _, result := range results {
		if _, twice := named[result.InstanceName()]; twice {
			return nil, fmt.Errorf("two results for %s", result.InstanceName())
		}
		named[result.InstanceName()] = result
	}
	return named, err
}

// revision is the revision of the only result.
func revision(st *store.Store, current []*store.CurrentSnap, action *store.SnapAction) (int, error) {
	results, err := act(st, current, action)
	if err != nil {
		return 0, err
	}
	result, ok := results[action.InstanceName]
	if !ok || len(results) != 1 {
		return 0, fmt.Errorf("not one result for %s: %v", action.InstanceName, results)
	}
	return result.Revision.N, nil
}

// gives reports whether an action gives that revision.
func gives(name string, st *store.Store, current []*store.CurrentSnap, action *store.SnapAction, want int) {
	got, err := revision(st, current, action)
	if err != nil {
		check.That(name, err)
		return
	}
	check.Equal(name, got, want)
}

func (at shop) install(st *store.Store) *snap.Info {
	results, err := act(st, nil, &store.SnapAction{Action: "install", InstanceName: "hello", Channel: "stable"})
	if !check.That("SnapAction installs", err) {
		return nil
	}
	got, ok := results["hello"]
	if !check.Equal("the answer is the snap asked for", ok, true) {
		return nil
	}
	check.Equal("its revision is what stable holds", got.Revision.N, 1)
	check.Equal("its channel is said", got.Channel, "latest/stable")
	check.Equal("its type", got.Type(), snap.TypeApp)
	check.Equal("its version", got.Version, "1")
	check.Equal("its base", got.Base, "core22")
	check.Equal("its confinement", got.Confinement, snap.StrictConfinement)
	check.Equal("its publisher", got.Publisher.ID, at.brand)
	check.Equal("its architectures", strings.Join(got.Architectures, " "), "all")
	check.Equal("nobody has to pay for it", got.Paid, false)
	digest, size, err := osutil.FileDigest(filepath.Join(at.files, "hello-1.snap"), crypto.SHA3_384)
	check.That("the file that was published is read", err)
	check.Equal("its digest is that of the file", got.Sha3_384, fmt.Sprintf("%x", digest))
	check.Equal("its size is that of the file", got.Size, int64(size))

	gives("SnapAction installs from another risk", st, nil,
		&store.SnapAction{Action: "install", InstanceName: "hello", Channel: "edge"}, 2)
	gives("a closed risk follows the safer one", st, nil,
		&store.SnapAction{Action: "install", InstanceName: "hello", Channel: "latest/beta"}, 1)
	gives("SnapAction installs a revision that is in no channel", st, nil,
		&store.SnapAction{Action: "install", InstanceName: "hello", Revision: snap.R(3)}, 3)
	gives("SnapAction downloads", st, nil, &store.SnapAction{Action: "download", InstanceName: "hello"}, 1)
	gives("SnapAction installs a second instance", st, nil,
		&store.SnapAction{Action: "install", InstanceName: "hello_two", Channel: "edge"}, 2)
	gives("the private snap is there for a device of the store", st, nil,
		&store.SnapAction{Action: "install", InstanceName: "hello-secret", Channel: "stable"}, 1)
	return got.Info
}

func installed(name, id string, revision int, channel string) *store.CurrentSnap {
	return &store.CurrentSnap{
		InstanceName: name, SnapID: id, Revision: snap.R(revision), TrackingChannel: channel, Epoch: snap.E("0"),
	}
}

func (at shop) refresh(st *store.Store, id string) {
	has := func(revision int, channel string) []*store.CurrentSnap {
		return []*store.CurrentSnap{installed("hello", id, revision, channel)}
	}
	action := func(channel string) *store.SnapAction {
		return &store.SnapAction{Action: "refresh", InstanceName: "hello", SnapID: id, Channel: channel}
	}
	_, err := revision(st, has(1, "latest/stable"), action(""))
	check.Refused("what is newest stays", err, "no updates available")
	gives("SnapAction refreshes along the channel that is followed", st, has(1, "latest/edge"), action(""), 2)
	gives("SnapAction refreshes to another channel", st, has(1, "latest/stable"), action("latest/edge"), 2)
	gives("SnapAction refreshes to a given revision", st, has(1, "latest/stable"),
		&store.SnapAction{Action: "refresh", InstanceName: "hello", SnapID: id, Revision: snap.R(3)}, 3)
	local := has(1, "latest/edge")
	local[0].Revision = snap.R(-1)
	gives("a local revision is replaced", st, local, action(""), 2)
	blocked := has(1, "latest/edge")
	blocked[0].Block = []snap.Revision{snap.R(2)}
	_, err = revision(st, blocked, action(""))
	check.Refused("a revision the device went back from is not taken again", err, "no updates available")

	// Two instances at once, something new beside them, and something that is not there.
	two := []*store.CurrentSnap{
		installed("hello", id, 1, "latest/edge"), installed("hello_two", id, 3, "latest/stable"),
	}
	results, err := act(st, two,
		&store.SnapAction{Action: "refresh", InstanceName: "hello", SnapID: id},
		&store.SnapAction{Action: "refresh", InstanceName: "hello_two", SnapID: id},
		&store.SnapAction{Action: "install", InstanceName: "hello-big", Channel: "stable"},
		&store.SnapAction{Action: "download", InstanceName: "core22", Channel: "stable"},
		&store.SnapAction{Action: "install", InstanceName: "nobody", Channel: "stable"},
	)
	var partly *store.SnapActionError
	if !errors.As(err, &partly) {
		check.That("one of five actions fails by itself", fmt.Errorf("the error is %v", err))
		return
	}
	check.Is("the snap that is not there is named", partly.Install["nobody"], store.ErrSnapNotFound)
	check.Equal("nothing else failed", len(partly.Refresh)+len(partly.Install)+len(partly.Download)+len(partly.Other), 1)
	for name, want := range map[string]int{"hello": 2, "hello_two": 1, "hello-big": 1, "core22": 1} {
		check.Equal(name+" is answered", results[name].Info != nil && results[name].Revision.N == want, true)
	}
	check.Equal("nothing else is answered", len(results), 4)
}

func (at shop) errors(st *store.Store) {
	_, err := act(st, nil, &store.SnapAction{Action: "install", InstanceName: "hello", Channel: "9.9/stable"})
	var partly *store.SnapActionError
	if errors.As(err, &partly) {
		missing, ok := partly.Install["hello"].(*store.RevisionNotAvailableError)
		if check.Equal("a track that is not there is a revision that is not there", ok, true) {
			var names []string
			for _, release := range missing.Releases {
				names = append(names, release.Architecture+" "+release.Full())
			}
			check.Equal("the channels that there are, are listed", strings.Join(names, ", "),
				"amd64 latest/stable, amd64 latest/edge")
		}
	} else {
		check.That("a track that is not there is refused", fmt.Errorf("the error is %v", err))
	}
	_, err = revision(st, nil, &store.SnapAction{Action: "install", InstanceName: "hello", Revision: snap.R(77)})
	check.Refused("a revision that is not there is refused", err, `cannot install snap "hello"`, "no snap revision available")
	unknown := installed("ghost", strings.Repeat("g", 32), 1, "latest/stable")
	_, err = revision(st, []*store.CurrentSnap{unknown},
		&store.SnapAction{Action: "refresh", InstanceName: "ghost", SnapID: unknown.SnapID})
	check.Refused("an unknown snap-id is refused", err, `cannot refresh snap "ghost"`, "snap not found")
}

// resolve fetches what a pool misses, round after round, as snapd does.
func resolve(st *store.Store, db *asserts.Database, pool *asserts.Pool) (rounds int, err error) {
	for rounds < 10 {
		_, groups, err := st.SnapAction(ctx, nil, nil, pool, nil, nil)
		var nothing *store.SnapActionError
		if errors.As(err, &nothing) && nothing.NoResults {
			return rounds, pool.CommitTo(db)
		}
		if err != nil {
			return rounds, err
		}
		if len(groups) == 0 {
			return rounds, pool.CommitTo(db)
		}
		rounds++
		for _, group := range groups {
			batch := asserts.NewBatch(nil)
			if err := st.DownloadAssertions(group.StreamURLs, batch, nil); err != nil {
				return rounds, err
			}
			if _, err := pool.AddBatch(batch, group.Grouping); err != nil {
				return rounds, err
			}
		}
	}
	return rounds, errors.New("it does not come to an end")
}

func (at shop) assertions(st *store.Store, who *identity, hello *snap.Info, set string) {
	got, err := st.Assertion(asserts.SnapDeclarationType, []string{"16", hello.SnapID}, nil)
	if check.That("Assertion gets the snap-declaration", err) {
		check.Equal("it is that of the snap", got.(*asserts.SnapDeclaration).SnapName(), "hello")
	}
	text := digestText(filepath.Join(at.files, "hello-2.snap"))
	got, err = st.Assertion(asserts.SnapRevisionType, []string{text}, nil)
	if check.That("Assertion gets the snap-revision", err) {
		check.Equal("it is that of the file", got.(*asserts.SnapRevision).SnapRevision(), 2)
	}
	_, err = st.Assertion(asserts.AccountType, []string{"nobody"}, nil)
	check.Absent("what is not there is said to be not there", err)

	sequence := []string{"16", at.brand, set}
	for number, want := range map[int]int{1: 1, 2: 2, 0: 2} {
		got, err := st.SeqFormingAssertion(asserts.ValidationSetType, sequence, number, nil)
		if check.That(fmt.Sprintf("SeqFormingAssertion gets sequence %d", number), err) {
			check.Equal("it is the right one", got.(*asserts.ValidationSet).Sequence(), want)
		}
	}
	_, err = st.SeqFormingAssertion(asserts.ValidationSetType, sequence, 9, nil)
	check.Absent("a sequence that is not there is said to be not there", err)

	// In bulk, from nothing, with all that they rest on.
	pool := asserts.NewPool(who.db, 16)
	declaration := &asserts.Ref{Type: asserts.SnapDeclarationType, PrimaryKey: []string{"16", hello.SnapID}}
	err = pool.AddUnresolved(&asserts.AtRevision{Ref: *declaration, Revision: asserts.RevisionNotKnown}, "snap")
	check.That("the snap-declaration is wanted", err)
	absent := &asserts.Ref{Type: asserts.SnapDeclarationType, PrimaryKey: []string{"16", strings.Repeat("g", 32)}}
	err = pool.AddUnresolved(&asserts.AtRevision{Ref: *absent, Revision: asserts.RevisionNotKnown}, "absent")
	check.That("one that is not there is wanted", err)
	err = pool.AddUnresolvedSequence(&asserts.AtSequence{
		Type: asserts.ValidationSetType, SequenceKey: sequence, Sequence: 1, Pinned: true, Revision: asserts.RevisionNotKnown,
	}, "set")
	check.That("the first sequence of the set is wanted", err)
	_, err = resolve(st, who.db, pool)
	check.That("SnapAction and DownloadAssertions bring them", err)
	check.That("the snap-declaration came", pool.Err("snap"))
	check.That("the set came", pool.Err("set"))
	check.Absent("the other one is said to be not there", pool.Err("absent"))
	_, err = declaration.Resolve(who.db.Find)
	check.That("the snap-declaration is in the database", err)
	first, err := who.db.FindSequence(asserts.ValidationSetType, map[string]string{
		"series": "16", "account-id": at.brand, "name": set,
	}, -1, 0)
	if check.That("the set is in the database", err) {
		check.Equal("it is the first sequence", first.Sequence(), 1)
	}

	// Only what is newer.
	pool = asserts.NewPool(who.db, 16)
	check.That("the snap-declaration is to be updated", pool.AddToUpdate(declaration, "snap"))
	check.That("the set is to be updated", pool.AddSequenceToUpdate(&asserts.AtSequence{
		Type: asserts.ValidationSetType, SequenceKey: sequence, Sequence: 1, Revision: 0,
	}, "set"))
	_, err = resolve(st, who.db, pool)
	check.That("SnapAction and DownloadAssertions bring what is newer", err)
	check.That("nothing is wrong with the snap-declaration", pool.Err("snap"))
	newest, err := who.db.FindSequence(asserts.ValidationSetType, map[string]string{
		"series": "16", "account-id": at.brand, "name": set,
	}, -1, 0)
	if check.That("the newer set is in the database", err) {
		check.Equal("it is the second sequence", newest.Sequence(), 2)
	}
	pool = asserts.NewPool(who.db, 16)
	check.That("the snap-declaration is to be updated once more", pool.AddToUpdate(declaration, "snap"))
	check.That("the set is to be updated once more", pool.AddSequenceToUpdate(&asserts.AtSequence{
		Type: asserts.ValidationSetType, SequenceKey: sequence, Sequence: 2, Revision: 0,
	}, "set"))
	_, groups, err := st.SnapAction(ctx, nil, nil, pool, nil, nil)
	check.That("SnapAction is asked once more", err)
	urls := 0
	for _, group := range groups {
		urls += len(group.StreamURLs)
	}
	check.Equal("there is nothing newer", urls, 0)
}

type catalog map[string]string

func (c catalog) AddSnap(name, version, summary string, commands []string) error {
	c[name] = version + ", " + summary + ", " + strings.Join(commands, " ")
	return nil
}

func (at shop) look(st *store.Store) {
	info, err := st.SnapInfo(ctx, store.SnapSpec{Name: "hello"}, nil)
	if check.That("SnapInfo shows a snap", err) {
		check.Equal("it shows what stable holds", info.Revision.N, 1)
		check.Equal("its tracks", strings.Join(info.Tracks, " "), "latest")
		for channel, want := range map[string]int{"latest/stable": 1, "latest/edge": 2} {
			found := info.Channels[channel]
			check.Equal("its channel "+channel, found != nil && found.Revision.N == want, true)
		}
		check.Equal("no other channels", len(info.Channels), 2)
	}
	_, err = st.SnapInfo(ctx, store.SnapSpec{Name: "nobody"}, nil)
	check.Is("SnapInfo says what is not there", err, store.ErrSnapNotFound)
	found, channel, err := st.SnapExists(ctx, store.SnapSpec{Name: "hello"}, nil)
	if check.That("SnapExists finds a snap", err) {
		check.Equal("it is the one", found.SnapName()+" "+channel.Full(), "hello latest/stable")
	}

	names := func(what string, search store.Search) string {
		results, err := st.Find(ctx, &search, nil)
		if !check.That("Find by "+what, err) {
			return ""
		}
		var names []string
		for _, result := range results {
			names = append(names, result.InstanceName())
		}
		return " " + strings.Join(names, " ") + " "
	}
	check.Equal("by word it finds the snap", strings.Contains(names("word", store.Search{Query: "hello"}), " hello "), true)
	prefixed := names("beginning", store.Search{Query: "hello-b", Prefix: true})
	check.Equal("by beginning it finds that one", prefixed, " hello-big ")
	check.Equal("by a word of nobody it finds nothing", names("another word", store.Search{Query: "xyzzy"}), "  ")
	names("category", store.Search{Category: "featured"})
	names("scope", store.Search{Query: "hello", Scope: "wide"})
	check.Equal("by identifier of an application it finds nothing",
		names("identifier", store.Search{CommonID: "org.example.nobody"}), "  ")

	_, err = st.Sections(ctx, nil)
	check.That("Sections are listed", err)
	if categories := reflect.ValueOf(st).MethodByName("Categories"); categories.IsValid() {
		out := categories.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.Zero(reflect.TypeOf((*auth.UserState)(nil)))})
		err, _ := out[1].Interface().(error)
		check.That("Categories are listed", err)
	}

	seen := catalog{}
	var listed bytes.Buffer
	check.That("WriteCatalogs reads all names", st.WriteCatalogs(ctx, &listed, seen))
	check.Equal("the snap is among them, with its commands",
		strings.HasPrefix(seen["hello"]+" ", "1, says hello, hello "), true)
	check.Equal("its name is written", strings.Contains("\n"+listed.String(), "\nhello\n"), true)

	status, err := st.ConnectivityCheck()
	if check.That("ConnectivityCheck asks", err) {
		check.Equal("every host it needs is there", len(status) > 0 && !strings.Contains(fmt.Sprint(status), "false"), true)
	}
}

// release releases a revision of hello to stable.
func (at shop) release(revision string) error {
	out, err := exec.Command(at.hallmark, "snap", "release", "hello", revision, "stable").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %s", err, out)
	}
	return nil
}

func (at shop) cohorts(st *store.Store) {
	keys, err := st.CreateCohorts(ctx, []string{"hello", "hello-big"})
	if !check.That("CreateCohorts makes keys", err) || !check.Equal("one for each snap", len(keys), 2) {
		return
	}
	time.Sleep(1100 * time.Millisecond) // times are whole seconds
	check.That("another revision is released", at.release("3"))
	action := &store.SnapAction{Action: "install", InstanceName: "hello", Channel: "stable"}
	gives("who has no key gets it", st, nil, action, 3)
	held := *action
	held.CohortKey = keys["hello"]
	gives("who has the key gets what there was", st, nil, &held, 1)
	info, err := st.SnapInfo(ctx, store.SnapSpec{Name: "hello"}, nil)
	if check.That("the snap is shown", err) {
		member := installed("hello", info.SnapID, 1, "latest/stable")
		member.CohortKey = keys["hello"]
		_, err = revision(st, []*store.CurrentSnap{member},
			&store.SnapAction{Action: "refresh", InstanceName: "hello", SnapID: info.SnapID})
		check.Refused("a device that has the key stays", err, "no updates available")
		gives("it leaves with a key made now", st, []*store.CurrentSnap{member}, &store.SnapAction{
			Action: "refresh", InstanceName: "hello", SnapID: info.SnapID, CohortKey: at.cohort(st),
		}, 3)
	}
	check.That("the first revision is released again", at.release("1"))
	_, err = st.CreateCohorts(ctx, []string{"nobody"})
	check.Refused("a snap that is not there has none", err, "not found")
}

func (at shop) cohort(st *store.Store) string {
	keys, err := st.CreateCohorts(ctx, []string{"hello"})
	check.That("a key is made now", err)
	return keys["hello"]
}

func (at shop) downloads(st *store.Store, below string) {
	results, err := act(st, nil, &store.SnapAction{Action: "download", InstanceName: "hello-big"})
	if !check.That("the big snap is there", err) {
		return
	}
	info := results["hello-big"].DownloadInfo
	file := filepath.Join(at.files, "hello-big-1.snap")
	target := filepath.Join(below, "whole.snap")
	check.That("Download gets it", st.Download(ctx, "hello-big", target, &info, progress.Null, nil, nil))
	check.That("it is the file that was published", same(target, file))

	// Over a line that breaks after 1 MB, then after 2 MB, then holds.
	line, err := cutLine(at.base.Host, false, 1_000_000, 2_000_000)
	if !check.That("a bad line is made", err) {
		return
	}
	defer line.close()
	cut := info
	cut.DownloadURL = strings.Replace(info.DownloadURL, at.base.Host, line.address(), 1)
	target = filepath.Join(below, "cut.snap")
	check.That("Download goes on where the line broke", st.Download(ctx, "hello-big", target, &cut, progress.Null, nil, nil))
	check.That("it is the file that was published", same(target, file))
	check.Equal("it took three connections", line.connections(), 3)
	check.Between("nothing was sent twice", line.sent(), info.Size, info.Size+10_000)
	reset, err := cutLine(at.base.Host, true, 3_000_000)
	if !check.That("a line that is reset is made", err) {
		return
	}
	defer reset.close()
	cut.DownloadURL = strings.Replace(info.DownloadURL, at.base.Host, reset.address(), 1)
	target = filepath.Join(below, "reset.snap")
	check.That("Download goes on where the line was reset", st.Download(ctx, "hello-big", target, &cut, progress.Null, nil, nil))
	check.That("it is the file that was published", same(target, file))
	check.Equal("it took two connections", reset.connections(), 2)

	// A part that is there from before.
	content, err := os.ReadFile(file)
	check.That("the file that was published is read", err)
	target = filepath.Join(below, "rest.snap")
	check.That("a part is there", os.WriteFile(target+".partial", content[:5_000_000], 0o600))
	check.That("Download gets the rest", st.Download(ctx, "hello-big", target, &info, progress.Null, nil, nil))
	check.That("it is the file that was published", same(target, file))
	content[0] ^= 1
	target = filepath.Join(below, "spoilt.snap")
	check.That("a part with a mistake is there", os.WriteFile(target+".partial", content[:5_000_000], 0o600))
	check.That("Download begins again", st.Download(ctx, "hello-big", target, &info, progress.Null, nil, nil))
	check.That("it is the file that was published", same(target, file))
	content[0] ^= 1

	stream, status, err := st.DownloadStream(ctx, "hello-big", &info, 0, nil)
	if check.That("DownloadStream streams", err) {
		got, err := io.ReadAll(stream)
		stream.Close()
		check.Equal("all of it", status == http.StatusOK && err == nil && bytes.Equal(got, content), true)
	}
	stream, status, err = st.DownloadStream(ctx, "hello-big", &info, 5_999_999, nil)
	if check.That("DownloadStream streams the rest", err) {
		got, err := io.ReadAll(stream)
		stream.Close()
		check.Equal("only that", status == http.StatusPartialContent && err == nil && bytes.Equal(got, content[5_999_999:]), true)
	}
}

// deltas updates a big snap by the difference between two of its revisions.
func (at shop) deltas(st *store.Store, below string) {
	shown, err := st.SnapInfo(ctx, store.SnapSpec{Name: "hello-delta"}, nil)
	if !check.That("a snap with two revisions is there", err) {
		return
	}
	has := []*store.CurrentSnap{installed("hello-delta", shown.SnapID, 1, "latest/stable")}
	action := &store.SnapAction{Action: "refresh", InstanceName: "hello-delta", SnapID: shown.SnapID}
	var info snap.DownloadInfo
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		results, err := act(st, has, action)
		if !check.Quiet("SnapAction refreshes it", err) {
			return
		}
		if info = results["hello-delta"].DownloadInfo; len(info.Deltas) > 0 {
			break
		}
	}
	if !check.Equal("one delta is offered within a minute", len(info.Deltas), 1) {
		return
	}
	delta := info.Deltas[0]
	check.Equal("it is for xdelta3", delta.Format, "xdelta3")
	check.Equal("it leads from what is installed to what is offered",
		fmt.Sprint(delta.FromRevision, delta.ToRevision), "1 2")
	check.Equal("it is much smaller than the file", delta.Size < info.Size/10, true)

	check.That("what is installed is there", os.MkdirAll(dirs.SnapBlobDir, 0o755))
	content, err := os.ReadFile(filepath.Join(at.files, "hello-delta-1.snap"))
	check.That("the file that was published is read", err)
	installedFile := filepath.Join(dirs.SnapBlobDir, "hello-delta_1.snap")
	check.That("it is put there", os.WriteFile(installedFile, content, 0o600))
	// The program that applies it is taken from the snapd snap.
	tool := filepath.Join(dirs.SnapMountDir, "snapd/current/usr/bin/xdelta3")
	check.That("there is a snapd snap", os.MkdirAll(filepath.Dir(tool), 0o755))
	found, err := exec.LookPath("xdelta3")
	check.That("xdelta3 is there", err)
	check.That("it is put into the snapd snap", os.Symlink(found, tool))
	line, err := cutLine(at.base.Host, false)
	if !check.That("a line that counts is made", err) {
		return
	}
	defer line.close()
	info.DownloadURL = strings.Replace(info.DownloadURL, at.base.Host, line.address(), 1)
	info.Deltas[0].DownloadURL = strings.Replace(delta.DownloadURL, at.base.Host, line.address(), 1)
	target := filepath.Join(below, "updated.snap")
	check.That("Download updates it", st.Download(ctx, "hello-delta", target, &info, progress.Null, nil, nil))
	check.That("it is the file that was published", same(target, filepath.Join(at.files, "hello-delta-2.snap")))
	check.Between("only the delta was sent", line.sent(), delta.Size, delta.Size+10_000)

	// A device that has something else on its disk cannot apply it.
	content[len(content)/2] ^= 1
	check.That("what is installed is spoilt", os.WriteFile(installedFile, content, 0o600))
	info.DownloadURL = strings.Replace(info.DownloadURL, line.address(), at.base.Host, 1)
	info.Deltas[0].DownloadURL = delta.DownloadURL
	target = filepath.Join(below, "again.snap")
	check.That("Download gets the whole file then", st.Download(ctx, "hello-delta", target, &info, progress.Null, nil, nil))
	check.That("it is the file that was published", same(target, filepath.Join(at.files, "hello-delta-2.snap")))

	has[0].Revision = snap.R(2)
	_, err = revision(st, has, action)
	check.Refused("then there is nothing newer", err, "no updates available")
	_, err = act(at.open(nil), has, action)
	check.Refused("nor for a stranger", err, "no updates available")
}

// renewal spoils the session: the store must ask for a new one, and the library must get it without a word.
func (at shop) renewal(st *store.Store, who *identity) {
	for _, spoilt := range []string{"forged", who.state.SessionMacaroon[:len(who.state.SessionMacaroon)-5]} {
		who.state.SessionMacaroon = spoilt
		gives("a spoilt session does not stop a device", st, nil,
			&store.SnapAction{Action: "install", InstanceName: "hello-secret", Channel: "stable"}, 1)
		check.Equal("it holds another session now", who.state.SessionMacaroon != spoilt, true)
	}
	who.state.SessionMacaroon = "forged"
	_, err := st.SnapInfo(ctx, store.SnapSpec{Name: "hello-secret"}, nil)
	check.That("nor when it looks around", err)
	who.state.SessionMacaroon = "forged"
	_, err = st.Assertion(asserts.SnapRevisionType, []string{digestText(filepath.Join(at.files, "hello-secret-1.snap"))}, nil)
	check.That("nor when it fetches an assertion", err)
}

// separation shows that a private snap is nobody else's.
func (at shop) separation(own, other *store.Store, who *identity, below string) {
	results, err := act(own, nil, &store.SnapAction{Action: "download", InstanceName: "hello-secret"})
	if !check.That("the private snap is there for its own", err) {
		return
	}
	secret := results["hello-secret"]
	text := []string{digestText(filepath.Join(at.files, "hello-secret-1.snap"))}
	check.That("its own download it", own.Download(ctx, "hello-secret", filepath.Join(below, "secret.snap"),
		&secret.DownloadInfo, progress.Null, nil, nil))
	_, err = own.Assertion(asserts.SnapRevisionType, text, nil)
	check.That("its own get its snap-revision", err)

	for name, st := range map[string]*store.Store{"a device of another brand": other, "a stranger": at.open(nil)} {
		_, err := revision(st, nil, &store.SnapAction{Action: "install", InstanceName: "hello-secret", Channel: "stable"})
		check.Refused(name+" does not install it", err, "snap not found")
		_, err = revision(st, []*store.CurrentSnap{installed("hello-secret", secret.SnapID, 9, "latest/stable")},
			&store.SnapAction{Action: "refresh", InstanceName: "hello-secret", SnapID: secret.SnapID})
		check.Refused(name+" does not refresh it", err, "snap not found")
		_, err = st.SnapInfo(ctx, store.SnapSpec{Name: "hello-secret"}, nil)
		check.Is(name+" does not see it", err, store.ErrSnapNotFound)
		err = st.Download(ctx, "hello-secret", filepath.Join(below, "none.snap"), &secret.DownloadInfo, progress.Null, nil, nil)
		check.Refused(name+" does not download it", err, "404")
		_, err = st.Assertion(asserts.SnapRevisionType, text, nil)
		check.Absent(name+" does not get its snap-revision", err)
		_, err = st.Assertion(asserts.SnapDeclarationType, []string{"16", secret.SnapID}, nil)
		check.Absent(name+" does not get its snap-declaration", err)
		_, err = st.CreateCohorts(ctx, []string{"hello-secret"})
		check.Refused(name+" gets no cohort of it", err, "not found")
	}
	check.Equal("the other device had a session", who.state.SessionMacaroon != "", true)
	gives("the other device does get what is in every store", other, nil,
		&store.SnapAction{Action: "install", InstanceName: "core22", Channel: "stable"}, 1)
}

func digestText(file string) string {
	digest, _, err := asserts.SnapFileSHA3_384(file)
	if err != nil {
		check.That("a published file is read", err)
	}
	return digest
}

func same(got, want string) error {
	one, err := os.ReadFile(got)
	if err != nil {
		return err
	}
	other, err := os.ReadFile(want)
	if err != nil {
		return err
	}
	if !bytes.Equal(one, other) {
		return errors.New("the files differ")
	}
	return nil
}

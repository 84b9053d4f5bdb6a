module hallmark.test/library

go 1.18

require github.com/snapcore/snapd v0.0.0-20201005140838-501d14ac146e

require (
	github.com/chai2010/gettext-go v1.0.3 // indirect
	github.com/godbus/dbus/v5 v5.1.0 // indirect
	github.com/juju/ratelimit v1.0.1 // indirect
	github.com/mattn/go-runewidth v0.0.15 // indirect
	github.com/rivo/uniseg v0.2.0 // indirect
	golang.org/x/crypto v0.23.0 // indirect
	golang.org/x/net v0.21.0 // indirect
	golang.org/x/sync v0.8.0 // indirect
	golang.org/x/sys v0.21.0 // indirect
	golang.org/x/term v0.20.0 // indirect
	gopkg.in/macaroon.v1 v1.0.0 // indirect
	gopkg.in/retry.v1 v1.0.3 // indirect
	gopkg.in/tomb.v2 v2.0.0-20161208151619-d5d1b5820637 // indirect
	gopkg.in/yaml.v2 v2.4.0 // indirect
)

// The library is Debian's golang-github-snapcore-snapd-dev, unpacked by ../prepare.sh: releases newer than 2020 are
// not published as modules under a version that every module proxy serves. library_programs points here.
replace github.com/snapcore/snapd => ./snapd

// Package check counts results and prints them as they come.
package check

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/snapcore/snapd/asserts"
)

var passed, failed int

// That reports one result; a failure does not end the run, so that one run shows all of them.
func That(name string, err error) bool {
	if err != nil {
		failed++
		fmt.Printf("FAIL %s: %v\n", name, err)
		return false
	}
	passed++
	fmt.Printf("ok   %s\n", name)
	return true
}

// Quiet reports a failure only; for what is done many times.
func Quiet(name string, err error) bool { return err == nil || That(name, err) }

// Equal reports whether two values are the same.
func Equal[T comparable](name string, got, want T) bool {
	if got != want {
		return That(name, fmt.Errorf("got %v, not %v", got, want))
	}
	return That(name, nil)
}

// Between reports whether a number is neither too small nor too big.
func Between(name string, got, least, most int64) {
	if got < least || got > most {
		That(name, fmt.Errorf("%d is not between %d and %d", got, least, most))
		return
	}
	That(name, nil)
}

// Is reports whether err is that error.
func Is(name string, err, want error) {
	if !errors.Is(err, want) {
		That(name, fmt.Errorf("the error is %v", err))
		return
	}
	That(name, nil)
}

// Absent reports whether err says that an assertion is not there.
func Absent(name string, err error) {
	if _, ok := err.(*asserts.NotFoundError); !ok {
		That(name, fmt.Errorf("the error is %v", err))
		return
	}
	That(name, nil)
}

// Refused reports whether err is there and mentions every one of words.
func Refused(name string, err error, words ...string) {
	if err == nil {
		That(name, errors.New("it was accepted"))
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			That(name, fmt.Errorf("refused, but for another reason: %v", err))
			return
		}
	}
	That(name, nil)
}

// Finish prints the sum and ends the program.
func Finish(what string) {
	fmt.Printf("%s: %d passed, %d failed\n", what, passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
	os.Exit(0)
}

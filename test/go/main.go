// What Go's own channels, locks and contexts do: every case prints its outcome as a line of JSON, ["name", "word", …].
//
//	go build -o cases *.go && ./cases
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

type testCase struct {
	name string
	run  func() []string
}

var cases []testCase

// What ends the whole program, so that each runs in a process of its own.
var fatals = map[string]func(){}

func add(name string, run func() []string) {
	cases = append(cases, testCase{name, run})
}

func addFatal(name string, run func()) {
	fatals[name] = run
	add(name, func() []string {
		command := exec.Command(os.Args[0], name)
		if command.Run() != nil {
			return []string{"fails"}
		}
		return []string{"works"}
	})
}

// "works", or "fails" when it panics.
func attempt(run func()) (outcome string) {
	defer func() {
		if recover() != nil {
			outcome = "fails"
		}
	}()
	run()
	return "works"
}

// Long enough for a goroutine that was just started to block. The cases below are such that a goroutine that comes later still changes only
// what the case doesn't look at, but for orders of arrival, which Go gives no other way to establish.
func settle() {
	for turn := 0; turn < 10; turn++ {
		runtime.Gosched()
		time.Sleep(2 * time.Millisecond)
	}
}

func text(value any) string {
	return fmt.Sprint(value)
}

func main() {
	if len(os.Args) > 1 {
		fatals[os.Args[1]]()
		return
	}
	encoder := json.NewEncoder(os.Stdout)
	_ = encoder.Encode([]string{"version", runtime.Version()})
	for _, each := range cases {
		_ = encoder.Encode(append([]string{each.name}, each.run()...))
	}
}

// The same work as spawn.bench.ts, in Go: goroutines with a wait group.
//
//	spawn N PROCS MS       N empty goroutines from one goroutine, then wait; prints the median ns per goroutine
//	fib N CUT PROCS MS     fork-join Fibonacci, sequential below CUT; prints the median ns of a whole run
//
// Prints one JSON object: {"ns": …, "result": …}. Every run's result is checked by the caller through "result", which is the
// same for all runs or the program fails.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"
)

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

func parallelFib(n, cut int) int {
	if n < cut {
		return fib(n)
	}
	var left int
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		left = parallelFib(n-1, cut)
		group.Done()
	}()
	right := parallelFib(n-2, cut)
	group.Wait()
	return left + right
}

// Each goroutine leaves a number of its own, so that none can be left out unnoticed.
func spawn(n int, results []int32) int {
	var group sync.WaitGroup
	group.Add(n)
	for i := 0; i < n; i++ {
		go func(i int) {
			results[i] = int32(i&1023) + 1
			group.Done()
		}(i)
	}
	group.Wait()
	sum := 0
	for i := range results {
		sum += int(results[i])
		results[i] = 0
	}
	return sum
}

func number(index int) int {
	value, err := strconv.Atoi(os.Args[index])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

// Runs once to warm up, then for about ms milliseconds, at least three times.
func measure(ms int, run func() int) (time.Duration, int) {
	result := run()
	var times []time.Duration
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for len(times) < 3 || time.Now().Before(end) {
		started := time.Now()
		if again := run(); again != result {
			fmt.Fprintln(os.Stderr, "results differ:", result, again)
			os.Exit(1)
		}
		times = append(times, time.Since(started))
	}
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	return times[len(times)/2], result
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: spawn N PROCS MS | fib N CUT PROCS MS")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "spawn":
		n := number(2)
		runtime.GOMAXPROCS(number(3))
		results := make([]int32, n)
		took, sum := measure(number(4), func() int { return spawn(n, results) })
		fmt.Printf("{\"ns\": %f, \"result\": %d}\n", float64(took.Nanoseconds())/float64(n), sum)
	case "fib":
		n, cut := number(2), number(3)
		runtime.GOMAXPROCS(number(4))
		took, result := measure(number(5), func() int { return parallelFib(n, cut) })
		fmt.Printf("{\"ns\": %d, \"result\": %d}\n", took.Nanoseconds(), result)
	default:
		fmt.Fprintln(os.Stderr, "unknown mode", os.Args[1])
		os.Exit(2)
	}
}

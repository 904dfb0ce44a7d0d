// The same work as channels.bench.ts, in Go: `channels CASE MS` prints {"ns": …}, nanoseconds per item from one goroutine to another.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

const itemsPerLook = 1000

type value struct {
	A int
	B string
}

// One goroutine sends until the time is up, another receives; both begin together.
func pass[T any](limit time.Duration, capacity int, item func(number int) T) float64 {
	channel := make(chan T, capacity)
	started := time.Now()
	go func() {
		number := 0
		for time.Since(started) < limit {
			for each := 0; each < itemsPerLook; each++ {
				channel <- item(number)
				number++
			}
		}
		close(channel)
	}()
	count := 0
	for range channel {
		count++
	}
	return float64(time.Since(started)) / float64(count)
}

func main() {
	ms, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	limit := time.Duration(ms) * time.Millisecond
	number := func(number int) int32 { return int32(number) }
	var ns float64
	switch os.Args[1] {
	case "one-to-one", "shared":
		ns = pass(limit, 1024, number)
	case "batches":
		// Go has no batches: a slice of 64 per item, and nanoseconds per number in it.
		ns = pass(limit, 16, func(int) []int32 { return make([]int32, 64) }) / 64
	case "unbuffered":
		ns = pass(limit, 0, number)
	case "values":
		ns = pass(limit, 1024, func(number int) *value { return &value{number, "item"} })
	default:
		panic("no such case")
	}
	fmt.Printf("{\"ns\": %.3f}\n", ns)
}

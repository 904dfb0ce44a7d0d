// The same work as sync.bench.ts, in Go: `sync CASE MS` prints {"ns": …}, nanoseconds per operation.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const batch = 1000

// Nanoseconds per call of `operation` over `limit`, after a warm-up of a fifth of that.
func perOperation(limit time.Duration, operation func()) float64 {
	runFor(limit/5, operation)
	return runFor(limit, operation)
}

func runFor(limit time.Duration, operation func()) float64 {
	started := time.Now()
	done := 0
	for time.Since(started) < limit {
		for each := 0; each < batch; each++ {
			operation()
		}
		done += batch
	}
	return float64(time.Since(started)) / float64(done)
}

// Two goroutines at once; nanoseconds per operation of either.
func contended(limit time.Duration) float64 {
	var mutex sync.Mutex
	var group sync.WaitGroup
	var stop int32
	counts := [2]int{}
	value := 0
	started := time.Now()
	for index := range counts {
		group.Add(1)
		go func(index int) {
			count := 0
			for atomic.LoadInt32(&stop) == 0 {
				mutex.Lock()
				value++
				mutex.Unlock()
				count++
			}
			counts[index] = count
			group.Done()
		}(index)
	}
	time.Sleep(limit)
	atomic.StoreInt32(&stop, 1)
	group.Wait()
	if value != counts[0]+counts[1] {
		panic("the lock doesn't exclude")
	}
	return float64(time.Since(started)) / float64(value)
}

// A turn that goes back and forth; nanoseconds per change of turn.
func condPingPong(limit time.Duration) float64 {
	var mutex sync.Mutex
	cond := sync.NewCond(&mutex)
	turn, isOver := 0, false
	finished := make(chan bool)
	play := func(own int) {
		mutex.Lock()
		for !isOver {
			for turn%2 != own && !isOver {
				cond.Wait()
			}
			turn++
			cond.Signal()
		}
		mutex.Unlock()
		finished <- true
	}
	started := time.Now()
	go play(0)
	go play(1)
	time.Sleep(limit)
	mutex.Lock()
	isOver = true
	turns := turn
	elapsed := time.Since(started)
	cond.Broadcast()
	mutex.Unlock()
	<-finished
	<-finished
	return float64(elapsed) / float64(turns)
}

func main() {
	ms, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	limit := time.Duration(ms) * time.Millisecond
	var mutex sync.Mutex
	var rwMutex sync.RWMutex
	var group sync.WaitGroup
	var once sync.Once
	// What Go programs use for a semaphore.
	permits := make(chan struct{}, 3)
	var ns float64
	switch os.Args[1] {
	case "mutex":
		ns = perOperation(limit, func() { mutex.Lock(); mutex.Unlock() })
	case "rw-read":
		ns = perOperation(limit, func() { rwMutex.RLock(); rwMutex.RUnlock() })
	case "rw-write":
		ns = perOperation(limit, func() { rwMutex.Lock(); rwMutex.Unlock() })
	case "semaphore":
		ns = perOperation(limit, func() { permits <- struct{}{}; <-permits })
	case "wait-group":
		ns = perOperation(limit, func() { group.Add(1); group.Done() })
	case "once":
		ns = perOperation(limit, func() { once.Do(func() {}) })
	case "mutex-2":
		ns = contended(limit)
	case "cond":
		ns = condPingPong(limit)
	default:
		panic("no such case")
	}
	fmt.Printf("{\"ns\": %.3f}\n", ns)
}

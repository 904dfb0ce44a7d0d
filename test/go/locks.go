package main

import (
	"sync"
	"time"
)

func init() {
	add("mutex: tryLock on a free lock, on a held one, on a released one", func() []string {
		var mutex sync.Mutex
		first, second := mutex.TryLock(), mutex.TryLock()
		mutex.Unlock()
		return []string{text(first), text(second), text(mutex.TryLock())}
	})
	addFatal("mutex: unlock of what nobody holds", func() {
		var mutex sync.Mutex
		mutex.Unlock()
	})
	add("mutex: those that wait get the lock in the order in which they came", func() []string {
		var mutex sync.Mutex
		var order []string
		var group sync.WaitGroup
		mutex.Lock()
		for _, name := range []string{"a", "b", "c", "d"} {
			group.Add(1)
			name := name
			go func() {
				mutex.Lock()
				order = append(order, name)
				mutex.Unlock()
				group.Done()
			}()
			settle()
		}
		mutex.Unlock()
		group.Wait()
		return order
	})
	add("mutex: one that takes it again and again doesn't starve one that waits", func() []string {
		var mutex sync.Mutex
		stop := make(chan bool)
		stopped := make(chan bool)
		mutex.Lock()
		go func() {
			for {
				select {
				case <-stop:
					stopped <- true
					return
				default:
				}
				mutex.Lock()
				time.Sleep(200 * time.Microsecond)
				mutex.Unlock()
			}
		}()
		mutex.Unlock()
		for round := 0; round < 5; round++ {
			mutex.Lock()
			mutex.Unlock()
		}
		close(stop)
		<-stopped
		return []string{"comes through"}
	})
	add("rwmutex: readers share, a writer is alone", func() []string {
		var mutex sync.RWMutex
		mutex.RLock()
		second := mutex.TryRLock()
		writer := mutex.TryLock()
		mutex.RUnlock()
		mutex.RUnlock()
		alone := mutex.TryLock()
		return []string{text(second), text(writer), text(alone), text(mutex.TryRLock()), text(mutex.TryLock())}
	})
	add("rwmutex: a writer that waits holds up readers that come after it", func() []string {
		var mutex sync.RWMutex
		written := make(chan bool)
		mutex.RLock()
		go func() {
			mutex.Lock()
			written <- true
			mutex.Unlock()
		}()
		settle()
		late := mutex.TryRLock()
		mutex.RUnlock()
		<-written
		return []string{text(late)}
	})
	add("rwmutex: readers that waited for a writer come before the next writer", func() []string {
		var mutex sync.RWMutex
		order := make(chan string, 3)
		mutex.Lock()
		go func() {
			mutex.RLock()
			order <- "reader"
			mutex.RUnlock()
		}()
		settle()
		go func() {
			mutex.Lock()
			order <- "writer"
			mutex.Unlock()
		}()
		settle()
		mutex.Unlock()
		return []string{<-order, <-order}
	})
	addFatal("rwmutex: release of a read lock that nobody holds", func() {
		var mutex sync.RWMutex
		mutex.RUnlock()
	})
	addFatal("rwmutex: release of a write lock that nobody holds", func() {
		var mutex sync.RWMutex
		mutex.Unlock()
	})
	add("waitgroup: below zero", func() []string {
		var group sync.WaitGroup
		return []string{attempt(func() { group.Add(-1) })}
	})
	add("waitgroup: done once too often", func() []string {
		var group sync.WaitGroup
		group.Add(1)
		group.Done()
		return []string{attempt(func() { group.Done() })}
	})
	add("waitgroup: nobody waits for none", func() []string {
		var group sync.WaitGroup
		group.Wait()
		return []string{"returns"}
	})
	add("waitgroup: used again after it was waited for", func() []string {
		var group sync.WaitGroup
		var outcome []string
		for round := 0; round < 3; round++ {
			group.Add(2)
			for each := 0; each < 2; each++ {
				go group.Done()
			}
			group.Wait()
			outcome = append(outcome, text(round))
		}
		return outcome
	})
	add("waitgroup: all that wait are woken", func() []string {
		var group sync.WaitGroup
		woken := make(chan bool)
		group.Add(1)
		for each := 0; each < 3; each++ {
			go func() {
				group.Wait()
				woken <- true
			}()
		}
		settle()
		group.Done()
		return []string{text(<-woken), text(<-woken), text(<-woken)}
	})
	add("once: many callers, one run, and all wait for its end", func() []string {
		var once sync.Once
		runs, finished := 0, false
		seen := make(chan bool)
		for each := 0; each < 3; each++ {
			go func() {
				once.Do(func() {
					runs++
					time.Sleep(5 * time.Millisecond)
					finished = true
				})
				seen <- finished
			}()
		}
		return []string{text(<-seen), text(<-seen), text(<-seen), text(runs)}
	})
	add("once: a run that fails counts as done", func() []string {
		var once sync.Once
		runs := 0
		first := attempt(func() { once.Do(func() { runs++; panic("no") }) })
		second := attempt(func() { once.Do(func() { runs++ }) })
		return []string{first, second, text(runs)}
	})
	add("cond: signal wakes the one that has waited longest", func() []string {
		var mutex sync.Mutex
		cond := sync.NewCond(&mutex)
		woken := make(chan string, 3)
		for _, name := range []string{"a", "b", "c"} {
			name := name
			go func() {
				mutex.Lock()
				cond.Wait()
				woken <- name
				mutex.Unlock()
			}()
			settle()
		}
		var order []string
		for range []int{0, 1, 2} {
			cond.Signal()
			order = append(order, <-woken)
		}
		return order
	})
	add("cond: a signal that nobody waits for is lost", func() []string {
		var mutex sync.Mutex
		cond := sync.NewCond(&mutex)
		woken := make(chan bool, 1)
		cond.Signal()
		go func() {
			mutex.Lock()
			cond.Wait()
			woken <- true
			mutex.Unlock()
		}()
		settle()
		outcome := "sleeps"
		select {
		case <-woken:
			outcome = "wakes"
		default:
		}
		cond.Broadcast()
		<-woken
		return []string{outcome}
	})
	add("cond: broadcast wakes all", func() []string {
		var mutex sync.Mutex
		cond := sync.NewCond(&mutex)
		woken := make(chan bool)
		for each := 0; each < 3; each++ {
			go func() {
				mutex.Lock()
				cond.Wait()
				mutex.Unlock()
				woken <- true
			}()
		}
		settle()
		cond.Broadcast()
		return []string{text(<-woken), text(<-woken), text(<-woken)}
	})
	add("cond: who wakes holds the lock", func() []string {
		var mutex sync.Mutex
		cond := sync.NewCond(&mutex)
		held := make(chan bool)
		go func() {
			mutex.Lock()
			cond.Wait()
			held <- !mutex.TryLock()
			mutex.Unlock()
		}()
		settle()
		isFree := mutex.TryLock()
		cond.Signal()
		mutex.Unlock()
		return []string{text(isFree), text(<-held)}
	})
}

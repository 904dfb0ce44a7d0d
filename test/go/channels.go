package main

import "time"

func init() {
	add("channel: sending on a closed one", func() []string {
		channel := make(chan int, 1)
		close(channel)
		return []string{attempt(func() { channel <- 1 })}
	})
	add("channel: closing a closed one", func() []string {
		channel := make(chan int)
		close(channel)
		return []string{attempt(func() { close(channel) })}
	})
	add("channel: what was sent before the end can still be received", func() []string {
		channel := make(chan int, 3)
		channel <- 1
		channel <- 2
		close(channel)
		var outcome []string
		for range []int{0, 1, 2, 3} {
			item, isOpen := <-channel
			outcome = append(outcome, text(item), text(isOpen))
		}
		return outcome
	})
	add("channel: length and room, also after the end", func() []string {
		channel := make(chan int, 3)
		channel <- 1
		channel <- 2
		before := []string{text(len(channel)), text(cap(channel))}
		close(channel)
		<-channel
		return append(before, text(len(channel)), text(cap(channel)))
	})
	add("channel: the end wakes all that wait to receive", func() []string {
		channel := make(chan int)
		woken := make(chan bool)
		for each := 0; each < 3; each++ {
			go func() {
				_, isOpen := <-channel
				woken <- isOpen
			}()
		}
		settle()
		close(channel)
		return []string{text(<-woken), text(<-woken), text(<-woken)}
	})
	add("channel: the end fails all that wait to send", func() []string {
		channel := make(chan int)
		failed := make(chan string)
		for each := 0; each < 2; each++ {
			go func() { failed <- attempt(func() { channel <- 1 }) }()
		}
		settle()
		close(channel)
		return []string{<-failed, <-failed}
	})
	add("channel: a loop over it ends with it", func() []string {
		channel := make(chan int)
		go func() {
			for item := 0; item < 4; item++ {
				channel <- item
			}
			close(channel)
		}()
		var outcome []string
		for item := range channel {
			outcome = append(outcome, text(item))
		}
		return outcome
	})
	add("channel: items keep the order of one sender", func() []string {
		channel := make(chan int, 2)
		go func() {
			for item := 0; item < 100; item++ {
				channel <- item
			}
			close(channel)
		}()
		last, isInOrder := -1, true
		for item := range channel {
			isInOrder = isInOrder && item == last+1
			last = item
		}
		return []string{text(isInOrder), text(last)}
	})
	add("channel: senders that wait are served in the order in which they came", func() []string {
		channel := make(chan string)
		for _, name := range []string{"a", "b", "c"} {
			name := name
			go func() { channel <- name }()
			settle()
		}
		return []string{<-channel, <-channel, <-channel}
	})
	add("channel: receivers that wait are served in the order in which they came", func() []string {
		channel := make(chan string)
		got := make([]chan string, 3)
		for index := range got {
			got[index] = make(chan string, 1)
			index := index
			go func() { got[index] <- <-channel }()
			settle()
		}
		for _, item := range []string{"a", "b", "c"} {
			channel <- item
		}
		return []string{<-got[0], <-got[1], <-got[2]}
	})
	add("channel: without a buffer a send waits until it was received", func() []string {
		channel := make(chan int)
		var order []string
		sent := make(chan bool)
		go func() {
			channel <- 1
			sent <- true
		}()
		settle()
		select {
		case <-sent:
			order = append(order, "sent before")
		default:
			order = append(order, "waits")
		}
		order = append(order, text(<-channel))
		<-sent
		return append(order, "sent")
	})
	add("channel: with a buffer a send waits only when that is full", func() []string {
		channel := make(chan int, 2)
		try := func() string {
			select {
			case channel <- 1:
				return "sent"
			default:
				return "full"
			}
		}
		outcome := []string{try(), try(), try()}
		<-channel
		return append(outcome, try(), try())
	})
	add("channel: what a waiting sender has moves up into the buffer", func() []string {
		channel := make(chan int, 1)
		channel <- 1
		sent := make(chan bool)
		go func() {
			channel <- 2
			sent <- true
		}()
		settle()
		first := <-channel
		<-sent
		return []string{text(first), text(len(channel)), text(<-channel)}
	})
	add("select: the default is taken only when nothing is ready", func() []string {
		empty, full := make(chan int), make(chan int, 1)
		full <- 7
		pick := func() string {
			select {
			case <-empty:
				return "empty"
			case item := <-full:
				return text(item)
			default:
				return "default"
			}
		}
		return []string{pick(), pick()}
	})
	add("select: a closed channel is ready at once, again and again", func() []string {
		closed, silent := make(chan int), make(chan int)
		close(closed)
		var outcome []string
		for range []int{0, 1} {
			select {
			case item, isOpen := <-closed:
				outcome = append(outcome, text(item), text(isOpen))
			case <-silent:
				outcome = append(outcome, "silent")
			}
		}
		return outcome
	})
	add("select: sending on a closed channel", func() []string {
		closed, silent := make(chan int, 1), make(chan int)
		close(closed)
		return []string{attempt(func() {
			select {
			case closed <- 1:
			case <-silent:
			}
		})}
	})
	add("select: of two that are ready each is taken in turn, by chance", func() []string {
		one, two := make(chan int, 2000), make(chan int, 2000)
		for item := 0; item < 2000; item++ {
			one <- item
			two <- item
		}
		ones := 0
		for round := 0; round < 2000; round++ {
			select {
			case <-one:
				ones++
			case <-two:
			}
		}
		// Twenty standard deviations either side.
		return []string{text(ones > 550 && ones < 1450)}
	})
	add("select: one case happens, the others leave no trace", func() []string {
		one, two := make(chan int), make(chan int, 1)
		done := make(chan string)
		go func() {
			select {
			case one <- 1:
				done <- "one"
			case item := <-two:
				done <- text(item)
			}
		}()
		settle()
		two <- 5
		outcome := []string{<-done}
		select {
		case <-one:
			outcome = append(outcome, "sent too")
		default:
			outcome = append(outcome, "not sent")
		}
		return outcome
	})
	add("select: a time limit", func() []string {
		silent := make(chan int)
		select {
		case <-silent:
			return []string{"received"}
		case <-time.After(2 * time.Millisecond):
			return []string{"time is up"}
		}
	})
	add("select: sending and receiving on one channel at once", func() []string {
		channel := make(chan int, 1)
		var outcome []string
		for range []int{0, 1, 2, 3} {
			select {
			case channel <- 1:
				outcome = append(outcome, "sent")
			case <-channel:
				outcome = append(outcome, "received")
			}
		}
		return outcome
	})
}

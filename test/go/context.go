package main

import (
	"context"
	"errors"
	"time"
)

// "none", "cancelled" or "deadline".
func why(ctx context.Context) string {
	switch err := ctx.Err(); {
	case err == nil:
		return "none"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	default:
		return "cancelled"
	}
}

func isDone(ctx context.Context) string {
	select {
	case <-ctx.Done():
		return "done"
	default:
		return "not done"
	}
}

type key string

func init() {
	background := context.Background()
	add("context: the background is never over", func() []string {
		_, hasDeadline := background.Deadline()
		return []string{why(background), isDone(background), text(hasDeadline), text(background.Value(key("a")) != nil)}
	})
	add("context: cancelling, once and again", func() []string {
		ctx, cancel := context.WithCancel(background)
		before, notDone := why(ctx), isDone(ctx)
		cancel()
		cancel()
		return []string{before, notDone, why(ctx), isDone(ctx)}
	})
	add("context: a parent takes its children along, a child nobody", func() []string {
		top, cancelTop := context.WithCancel(background)
		left, cancelLeft := context.WithCancel(top)
		right, cancelRight := context.WithCancel(top)
		leaf, cancelLeaf := context.WithCancel(left)
		defer cancelRight()
		defer cancelLeaf()
		cancelLeft()
		first := []string{why(top), why(left), why(right), why(leaf)}
		cancelTop()
		return append(first, why(top), why(right))
	})
	add("context: a child of one that is over is over at once", func() []string {
		parent, cancel := context.WithCancel(background)
		cancel()
		child, cancelChild := context.WithCancel(parent)
		defer cancelChild()
		timed, cancelTimed := context.WithTimeout(parent, time.Hour)
		defer cancelTimed()
		return []string{why(child), isDone(child), why(timed)}
	})
	add("context: whoever waits for a child in another goroutine is woken", func() []string {
		parent, cancel := context.WithCancel(background)
		child, cancelChild := context.WithCancel(context.WithValue(parent, key("a"), 1))
		defer cancelChild()
		woken := make(chan string)
		go func() {
			<-child.Done()
			woken <- why(child)
		}()
		settle()
		cancel()
		return []string{<-woken}
	})
	add("context: no time left at all, or less", func() []string {
		zero, cancelZero := context.WithTimeout(background, 0)
		defer cancelZero()
		past, cancelPast := context.WithDeadline(background, time.Now().Add(-time.Hour))
		defer cancelPast()
		return []string{why(zero), why(past), isDone(past)}
	})
	add("context: a deadline that passes", func() []string {
		ctx, cancel := context.WithTimeout(background, 2*time.Millisecond)
		child, cancelChild := context.WithCancel(ctx)
		defer cancelChild()
		<-child.Done()
		cancel()
		return []string{why(ctx), why(child)}
	})
	add("context: cancelled before the deadline", func() []string {
		ctx, cancel := context.WithTimeout(background, time.Hour)
		cancel()
		return []string{why(ctx)}
	})
	add("context: the earlier of two deadlines counts", func() []string {
		short, cancelShort := context.WithTimeout(background, time.Hour)
		defer cancelShort()
		below, cancelBelow := context.WithTimeout(short, 2*time.Hour)
		defer cancelBelow()
		shorter, cancelShorter := context.WithTimeout(short, time.Minute)
		defer cancelShorter()
		one, _ := short.Deadline()
		two, _ := below.Deadline()
		three, _ := shorter.Deadline()
		return []string{text(one.Equal(two)), text(three.Before(one))}
	})
	add("context: a child inherits its parent's deadline", func() []string {
		parent, cancel := context.WithTimeout(background, time.Hour)
		defer cancel()
		child, cancelChild := context.WithCancel(parent)
		defer cancelChild()
		_, has := child.Deadline()
		_, hasAlso := context.WithValue(child, key("a"), 1).Deadline()
		return []string{text(has), text(hasAlso)}
	})
	add("context: values are found from below, the newest first", func() []string {
		one := context.WithValue(background, key("a"), "one")
		two := context.WithValue(context.WithValue(one, key("b"), "b"), key("a"), "two")
		return []string{text(one.Value(key("a"))), text(two.Value(key("a"))), text(two.Value(key("b"))), text(one.Value(key("b")) != nil)}
	})
	add("context: cancelling what a value was added to", func() []string {
		parent, cancel := context.WithCancel(background)
		with := context.WithValue(parent, key("a"), 1)
		cancel()
		return []string{why(with), text(with.Value(key("a")))}
	})
	add("context: there is one done per context", func() []string {
		ctx, cancel := context.WithCancel(background)
		before := ctx.Done()
		cancel()
		return []string{text(before == ctx.Done())}
	})
}

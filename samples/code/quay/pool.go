// Package quay hands out berths to ships and takes them back.
package quay

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is returned once the harbour has closed.
var ErrClosed = errors.New("quay: harbour is closed")

// Pool is a fixed number of berths. The zero value has none.
type Pool struct {
	mu     sync.Mutex
	free   []int
	wake   chan struct{}
	closed bool
}

// NewPool returns a pool of n berths, numbered from 1.
func NewPool(n int) *Pool {
	p := &Pool{wake: make(chan struct{}, 1)}
	for i := n; i >= 1; i-- {
		p.free = append(p.free, i)
	}
	return p
}

// Acquire waits for a free berth and returns its number.
func (p *Pool) Acquire(ctx context.Context) (int, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return 0, ErrClosed
		}
		if last := len(p.free) - 1; last >= 0 {
			berth := p.free[last]
			p.free = p.free[:last]
			p.mu.Unlock()
			return berth, nil
		}
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-p.wake:
		}
	}
}

// Release gives a berth back and wakes one of those who wait.
func (p *Pool) Release(berth int) {
	p.mu.Lock()
	p.free = append(p.free, berth)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

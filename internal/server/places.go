package server

import (
	"net/netip"
	"sync"
)

// places are for so many at once, in all and from one address.
type places struct {
	most, perAddress int // perAddress 0: as many as in all

	mu    sync.Mutex
	taken int
	by    map[netip.Prefix]int
}

// full says why there is no place.
type full uint8

const (
	inAll full = iota + 1
	fromAddress
)

// enter takes a place, which leave gives back, or says why there is none. Who has no address, inside of the process, is only counted in all.
func (p *places) enter(from netip.Prefix) (leave func(), why full) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken >= p.most:
		return nil, inAll
	case p.perAddress > 0 && from.IsValid() && p.by[from] >= p.perAddress:
		return nil, fromAddress
	}
	if p.by == nil {
		p.by = map[netip.Prefix]int{}
	}
	p.taken++
	p.by[from]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.by[from]--; p.by[from] == 0 {
			delete(p.by, from)
		}
	}), 0
}

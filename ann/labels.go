package ann

// table finds the slot of a label: open addressing with linear probing over slots, whose labels are in the arrays, so an entry
// takes 4 bytes and the table has nothing to point to. It is kept at most three quarters full.
type table struct {
	places region[uint32] // slots, or noLink where it is empty; a power of two of them
	used   int
}

// hash scatters labels, which are often consecutive.
func (t *table) home(label uint64) int { return int(mix(label) & uint64(len(t.places.data)-1)) }

// find gives the place of a label, or the empty one where it would go. The table is not full, unless a file is damaged: then
// it gives -1.
func (t *table) find(a *arrays, label uint64) (place int, found bool) {
	if len(t.places.data) == 0 {
		return -1, false
	}
	i := t.home(label)
	for range t.places.data {
		slot := t.places.data[i]
		if slot == noLink {
			return i, false
		}
		if int(slot) < len(a.labels) && a.labels[slot] == label {
			return i, true
		}
		i = (i + 1) & (len(t.places.data) - 1)
	}
	return -1, false
}

// get gives the slot of a label.
func (t *table) get(a *arrays, label uint64) (uint32, bool) {
	i, ok := t.find(a, label)
	if !ok {
		return 0, false
	}
	return t.places.data[i], true
}

// add puts in a slot, whose label is in the arrays and not in the table, with room made before by reserve.
func (t *table) add(a *arrays, slot uint32) {
	i, _ := t.find(a, a.labels[slot])
	t.places.data[i] = slot
	t.used++
}

// reserve makes room for n labels in all.
func (t *table) reserve(a *arrays, n int) error {
	size := max(16, len(t.places.data))
	for n > size/4*3 {
		size *= 2
	}
	if size == len(t.places.data) {
		return nil
	}
	var bigger table
	if _, err := bigger.places.grow(size); err != nil {
		return err
	}
	for i := range bigger.places.data {
		bigger.places.data[i] = noLink
	}
	for _, slot := range t.places.data {
		if slot != noLink && int(slot) < len(a.labels) {
			bigger.add(a, slot)
		}
	}
	if err := t.places.free(); err != nil {
		return err
	}
	*t = bigger
	return nil
}

// remove takes a label out, and moves those behind it up so that no gap cuts them off from their home (Knuth, The Art of
// Computer Programming, volume 3, section 6.4, algorithm R).
func (t *table) remove(a *arrays, label uint64) bool {
	gap, ok := t.find(a, label)
	if !ok {
		return false
	}
	mask := len(t.places.data) - 1
	for i := (gap + 1) & mask; t.places.data[i] != noLink; i = (i + 1) & mask {
		home := t.home(a.labels[t.places.data[i]])
		if (i-home)&mask >= (i-gap)&mask { // its home is at the gap or before it
			t.places.data[gap] = t.places.data[i]
			gap = i
		}
	}
	t.places.data[gap] = noLink
	t.used--
	return true
}

// mix is the finaliser of splitmix64 (Steele, Lea and Flood, 2014): a bijection that scatters.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

//go:build unix && !linux && !purego

package ann

const mapNoReserve = 0

// adviseHuge: other systems choose the size of pages themselves.
func adviseHuge([]byte) {}

// settle: pages of files are as good as others.
func (m *mapping) settle() error { return nil }

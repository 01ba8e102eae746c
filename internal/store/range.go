package store

// Next is the ordinal that the next new paper gets: all that are stored are below it.
func (s *Store) Next() uint64 { return s.state.Load().next }

// Range returns records in the order of their ordinals, of those above after and below before: up to limit, and no more once they have bytes
// bytes. None: there are no more. It is one moment's view, and holds nothing of the store when it has returned.
func (s *Store) Range(after, before uint64, limit, bytes int) (ordinals []uint64, records []Record, err error) {
	if err := s.calls.enter(); err != nil {
		return nil, nil, err
	}
	defer s.calls.leave()
	defer s.noticed(&err)
	if limit <= 0 || before <= after || before-after == 1 {
		return nil, nil, nil
	}
	size := 0
	err = scan(s.db, recordKey(after+1), recordKey(before), func(key, value []byte) error {
		ordinal, err := keyOrdinal(key)
		if err != nil {
			return err
		}
		r, err := decode(key, value, decodeRecord)
		if err != nil {
			return err
		}
		ordinals, records = append(ordinals, ordinal), append(records, r)
		if size += len(value); len(records) == limit || size >= bytes {
			return errStop
		}
		return nil
	})
	if err != nil && err != errStop {
		return nil, nil, err
	}
	for i := range records {
		if err := s.flights.wait(records[i].Paper.ID); err != nil {
			return nil, nil, err
		}
	}
	return ordinals, records, nil
}

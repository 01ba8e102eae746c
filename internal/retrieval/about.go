package retrieval

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// AboutName is the file of a data directory that says what its collection was made with; package collections reads and writes it. The data
// directory of a collection that has no name of its own has none. A backup takes it along.
const AboutName = "collection.json"

// MaxAboutBytes is the longest such file.
const MaxAboutBytes = 1 << 20

// keepAbout copies the file AboutName into a backup, where there is one.
func keepAbout(from, to *os.Root) error {
	in, err := from.Open(AboutName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, MaxAboutBytes+1))
	if err != nil {
		return err
	}
	if len(text) > MaxAboutBytes {
		return fmt.Errorf("it has more than %d bytes", MaxAboutBytes)
	}
	out, err := to.OpenFile(AboutName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return errors.Join(err, out.Sync(), out.Close())
}

package access

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestAKeyIsFoundByItsSecretOnly(t *testing.T) {
	key, secret, err := New(Key{Name: "n", Role: Write, Expires: now.Add(time.Hour)}, now)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^embedd_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$`).MatchString(secret) {
		t.Errorf("the secret's form is another one: %d characters", len(secret))
	}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), secret[len(secret)-43:]) {
		t.Error("the secret is kept")
	}
	revoked, revokedSecret, err := New(Key{Role: Read}, now)
	if err != nil {
		t.Fatal(err)
	}
	revoked.Revoked = now
	keys, err := NewKeys([]Key{key, revoked})
	if err != nil {
		t.Fatal(err)
	}
	other, otherSecret, err := New(Key{Role: Admin}, now)
	if err != nil {
		t.Fatal(err)
	}
	mixed := strings.Replace(otherSecret, other.ID, key.ID, 1)
	for _, c := range []struct {
		name, secret string
		when         time.Time
		err          error
	}{
		{"right", secret, now, nil},
		{"at the last moment", secret, now.Add(time.Hour - 1), nil},
		{"expired", secret, now.Add(time.Hour), ErrExpired},
		{"revoked", revokedSecret, now, ErrRevoked},
		{"another's", otherSecret, now, ErrUnknown},
		{"another's with this id", mixed, now, ErrUnknown},
		{"cut", secret[:len(secret)-1], now, ErrUnknown},
		{"longer", secret + "A", now, ErrUnknown},
		{"without its prefix", strings.TrimPrefix(secret, "embedd_"), now, ErrUnknown},
		{"only the id", key.ID, now, ErrUnknown},
		{"the hash", key.SHA256, now, ErrUnknown},
		{"empty", "", now, ErrUnknown},
		{"expired and cut", secret[:len(secret)-1], now.Add(time.Hour), ErrUnknown},
	} {
		got, err := keys.Find(c.secret, c.when)
		if !errors.Is(err, c.err) || (err == nil && got.ID != key.ID) {
			t.Errorf("%s: %v %v, want %v", c.name, got, err, c.err)
		}
	}
}

func TestKeysThatCannotBeMeant(t *testing.T) {
	for _, c := range []struct {
		name string
		key  Key
		say  string
	}{
		{"no role", Key{}, "role is missing"},
		{"publishable writer", Key{Role: Write, Origins: []string{"https://a.example"}, Expires: now}, "must be read"},
		{"publishable without an end", Key{Role: Read, Origins: []string{"https://a.example"}}, "must expire"},
		{"any origin", Key{Role: Read, Origins: []string{"*"}, Expires: now}, `origin "*"`},
		{"null origin", Key{Role: Read, Origins: []string{"null"}, Expires: now}, `origin "null"`},
		{"a path", Key{Role: Read, Origins: []string{"https://a.example/"}, Expires: now}, "https://a.example/"},
		{"a user", Key{Role: Read, Origins: []string{"https://u@a.example"}, Expires: now}, "https://u@a.example"},
		{"capitals", Key{Role: Read, Origins: []string{"https://A.example"}, Expires: now}, "https://A.example"},
		{"a scheme", Key{Role: Read, Origins: []string{"ftp://a.example"}, Expires: now}, "ftp://a.example"},
	} {
		if _, _, err := New(c.key, now); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want an error saying %q", c.name, err, c.say)
		}
	}
	if _, _, err := New(Key{Role: Read, Origins: []string{"https://a.example", "http://b.example:8080"}, Expires: now}, now); err != nil {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	a, secret, err := Create(path, Key{Name: "a", Role: Read}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Create(path, Key{Name: "b", Role: Admin}, now); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Create(path, Key{Name: "b", Role: Admin}, now); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v, want mode 0600", fi.Mode(), err)
	}
	keys, err := ReadFile(path)
	if err != nil || len(keys.List()) != 3 {
		t.Fatalf("%v %v, want 3 keys", keys, err)
	}
	if k, err := keys.Find(secret, now); err != nil || *k.clone() != *a.clone() {
		t.Errorf("%+v %v, want %+v", k, err, a)
	}
	if _, err := Revoke(path, "c", now); err == nil || !strings.Contains(err.Error(), `no key with the id or name "c"`) {
		t.Error(err)
	}
	if _, err := Revoke(path, "b", now); err == nil || !strings.Contains(err.Error(), "2 keys have the name") {
		t.Error(err)
	}
	if k, err := Revoke(path, "a", now); err != nil || k.ID != a.ID {
		t.Errorf("%v %v", k, err)
	}
	if _, err := Revoke(path, a.ID, now); err == nil || !strings.Contains(err.Error(), "revoked already") {
		t.Error(err)
	}
	if keys, err = ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Find(secret, now); !errors.Is(err, ErrRevoked) {
		t.Errorf("%v, want that it was revoked", err)
	}
}

// clone is the key without what cannot be compared.
func (k *Key) clone() *struct{ id, name, sum string } {
	return &struct{ id, name, sum string }{k.ID, k.Name, k.SHA256}
}

func TestBadFiles(t *testing.T) {
	good, _, err := New(Key{Role: Read}, now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(file{[]Key{good, good}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		say        string
	}{
		{"read by all", `{"keys":[]}`, 0o604, "chmod 600"},
		{"written by the group", `{"keys":[]}`, 0o660, "chmod 600"},
		{"unknown field", `{"keys":[],"users":[]}`, 0o600, `unknown field "users"`},
		{"unknown field of a key", `{"keys":[{"id":"a","rule":"read"}]}`, 0o600, `unknown field "rule"`},
		{"unknown role", `{"keys":[{"id":"a","role":"owner"}]}`, 0o600, `role "owner"`},
		{"no hash", `{"keys":[{"id":"a","role":"read"}]}`, 0o600, "keys[0]: sha256"},
		{"half", `{"keys":[`, 0o600, "unexpected EOF"},
		{"two", `{"keys":[]}{}`, 0o600, "something behind the keys"},
		{"empty", ``, 0o600, "EOF"},
		{"one id twice", string(text), 0o600, "there twice"},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error saying %q and the file", c.name, err, c.say)
		}
	}
	if _, err := ReadFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no plain file") {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(`{"keys":[]}`), 0o640); err != nil { // its group may read it
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err != nil {
		t.Error(err)
	}
}

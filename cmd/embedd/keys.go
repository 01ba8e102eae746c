package main

import (
	"fmt"
	"strings"
	"time"

	"embedd/internal/access"
	"embedd/internal/retrieval"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make a key and print its secret, once."`
	List   keysListCmd   `cmd:"" help:"List the keys of a file."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key; a running server refuses it within a second."`
}

// keysFlags name the keys file.
type keysFlags struct {
	Keys string `help:"The keys file; keys create makes it where there is none." required:"" placeholder:"FILE"`
}

type keysCreateCmd struct {
	Role    string        `help:"What the key is good for: read, write or admin; each may do what those before it may." enum:"read,write,admin" default:"read" env:"EMBEDD_KEY_ROLE"`
	Name    string        `help:"Whose key it is, for lists." placeholder:"NAME"`
	Expires time.Duration `help:"How long it is good for, as 720h; 0: until it is revoked." default:"0" placeholder:"TIME"`
	Origin  []string      `help:"Make a key for a web page, that everybody can see: it only reads, and only for pages of this origin; can be given more than once." placeholder:"https://HOST"`
	Filter  string        `help:"Make a key for a part of the papers, as categories:cs.CL: for who has it there are no others, and it only reads. See docs/filters.md." placeholder:"FILTER" env:"EMBEDD_KEY_FILTER"`

	Collections []string `help:"Make a key for these collections only, by their own names or by aliases, which it then follows; a,b,c." placeholder:"NAME"`

	keysFlags
	outputFlags
}

func (keysCreateCmd) Help() string {
	return `The secret is printed to standard output, and nothing else is; it is not kept, only its hash.

Example:
  embedd keys create --keys keys.json --role write --name ingest --expires 2160h`
}

func (c *keysCreateCmd) Run(e *env) error {
	role, err := access.ParseRole(c.Role)
	if err != nil {
		return err
	}
	k := access.Key{Name: c.Name, Role: role, Origins: c.Origin, Filter: c.Filter, Collections: c.Collections}
	if _, err := retrieval.ParseFilter("--filter", c.Filter); err != nil {
		return err
	}
	switch {
	case c.Expires < 0:
		return fmt.Errorf("--expires: is %v; must be 0 or more", c.Expires)
	case c.Expires == 0 && len(c.Origin) > 0:
		return fmt.Errorf("--origin: everybody can see such a key, so it must expire; add, for example, --expires 2160h")
	case c.Expires > 0:
		k.Expires = time.Now().Add(c.Expires)
	}
	k, secret, err := access.Create(c.Keys, k, time.Now())
	if err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	if c.JSON {
		return printJSON(e.stdout, struct {
			Key    access.Key `json:"key"`
			Secret string     `json:"secret"`
		}{k, secret})
	}
	fmt.Fprintf(e.stderr, "Key %s, role %v, is in %s. This is its secret, which is not shown again:\n", k.ID, k.Role, c.Keys)
	_, err = fmt.Fprintln(e.stdout, secret)
	return err
}

type keysListCmd struct {
	keysFlags
	outputFlags
}

func (keysListCmd) Help() string {
	return `Example:
  embedd keys list --keys keys.json`
}

func (c *keysListCmd) Run(e *env) error {
	keys, err := access.ReadFile(c.Keys)
	if err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	if c.JSON {
		return printJSON(e.stdout, keys.List())
	}
	t := newTable(e.stdout, "ID", "NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "ORIGINS", "COLLECTIONS", "FILTER")
	for _, k := range keys.List() {
		expires := "never"
		if !k.Expires.IsZero() {
			expires = k.Expires.Format(time.RFC3339)
		}
		t.row(k.ID, k.Name, k.Role.String(), k.State(time.Now()), k.Created.Format(time.RFC3339), expires, strings.Join(k.Origins, " "), strings.Join(k.Collections, " "), k.Filter)
	}
	return t.flush()
}

type keysRevokeCmd struct {
	Key string `arg:"" help:"Id of the key, or its name where only one has it."`

	keysFlags
}

func (keysRevokeCmd) Help() string {
	return `Example:
  embedd keys revoke --keys keys.json ingest`
}

func (c *keysRevokeCmd) Run(e *env) error {
	k, err := access.Revoke(c.Keys, c.Key, time.Now())
	if err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	_, err = fmt.Fprintf(e.stdout, "revoked %s\n", k.ID)
	return err
}

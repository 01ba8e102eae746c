package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
)

type checkCmd struct {
	outputFlags
	Data string `help:"Data directory; default: data in the .embedd folder." placeholder:"DIR"`
}

func (checkCmd) Help() string {
	return `Reads all of a data directory that no server has open, changes nothing, and proves the invariants of ARCHITECTURE.md by their
numbers. It needs no model. The exit status is 1 if one is violated.

Example:
  embedd check --data /srv/papers`
}

func (c *checkCmd) Run(e *env) (err error) {
	if c.Data, err = dataDir(c.Data); err != nil {
		return err
	}
	if err := checkDataDir(c.Data); err != nil {
		return err
	}
	served, err := collections.Serves(c.Data)
	if err != nil {
		return err
	}
	if served.Migrating {
		fmt.Fprintf(e.stderr, "embedd: note: a migration is under way, and what is served is looked at; the other model's papers are a data directory of their own: embedd check --data %s\n", shellWord(served.Other))
	}
	found, err := retrieval.Inspect(e.ctx, served.Dir, func(stage string) {
		if !c.JSON {
			fmt.Fprintf(e.stderr, "reading %s\n", stage)
		}
	})
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.stdout, found)
	} else {
		err = printInspection(e, found)
	}
	switch {
	case err != nil || !found.Violated():
		return err
	case found.OnlyDerived():
		return errors.New("the index is not as it must be, the papers are: embedd repair --drop-derived removes what is made of the papers, and the next start makes it anew")
	}
	if found.Model != "" && !c.JSON { // the store has opened
		fmt.Fprint(e.stdout, whatOrdinalsAre)
	}
	return errors.New("the data directory is not as it must be: restore a backup; or see embedd repair --help")
}

// whatOrdinalsAre is for who reads of damaged papers that are named by their ordinals.
const whatOrdinalsAre = `
p/7 is what is stored of the paper with the ordinal 7, v/7 is its vector; where that is damaged, its id may not be known, and no command can
ask for it. embedd repair --accept-data-loss makes a store of the papers that are whole, and keeps the old one. Then embedd index, with the
files that the papers came from, stores again what is not there: the lost papers, and such as were deleted.
`

func printInspection(e *env, x *retrieval.Inspection) error {
	if x.Model != "" { // the store has opened
		fmt.Fprintf(e.stdout, "%d papers at revision %d, vectors of %s, %d dimensions\n\n", x.Papers, x.Revision, x.Model, x.Dimension)
	}
	t := newTable(e.stdout)
	for _, f := range x.Findings {
		state := "holds"
		switch {
		case len(f.Violations) > 0:
			state = "VIOLATED"
		case !f.Holds:
			state = "not seen"
		}
		t.row(fmt.Sprint(f.Invariant), state, f.Name, f.How)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, f := range x.Findings {
		for _, v := range f.Violations {
			for line := range strings.Lines(v) {
				fmt.Fprintf(e.stdout, "\ninvariant %d: %s", f.Invariant, strings.TrimRight(line, "\n"))
			}
		}
		if len(f.Violations) > 0 {
			fmt.Fprintln(e.stdout)
		}
	}
	return nil
}

type repairCmd struct {
	Data           string `help:"Data directory; default: data in the .embedd folder." placeholder:"DIR"`
	DropDerived    bool   `help:"Remove what can be made anew from the papers: the snapshots of the index, of the words and of the works." env:"-"`
	AcceptDataLoss bool   `help:"Keep what is whole of a store that has lost something, and give up the rest for good." env:"-"`
}

func (repairCmd) Help() string {
	return `Repairs a data directory that no server has open. After --accept-data-loss, embedd index with the files that the papers came from
stores again what is not there: the lost papers, also those whose ids nobody knows, and such as were deleted. Nothing else is encoded again.

Examples:
  embedd repair --drop-derived --data /srv/papers
  embedd repair --accept-data-loss --data /srv/papers`
}

func (c *repairCmd) Run(e *env) (err error) {
	if c.Data, err = dataDir(c.Data); err != nil {
		return err
	}
	if !c.DropDerived && !c.AcceptDataLoss {
		return errors.New("say what to do: --drop-derived or --accept-data-loss; embedd check says what is wrong")
	}
	if err := checkDataDir(c.Data); err != nil {
		return err
	}
	served, err := collections.Serves(c.Data)
	if err != nil {
		return err
	}
	c.Data = served.Dir
	if c.AcceptDataLoss {
		log := e.logger(slog.LevelInfo)
		r, err := retrieval.Repair(c.Data, log)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%d papers are left in %s, %d are lost; the store as it was is in %s\n", r.Papers, c.Data, r.Lost, r.Damaged)
	}
	if c.DropDerived {
		removed, err := retrieval.DropDerived(c.Data)
		for _, name := range removed {
			fmt.Fprintln(e.stdout, "removed", name)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(e.stdout, "the index, the words and the works are made anew from the papers at the next start")
	}
	return nil
}

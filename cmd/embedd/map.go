package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	embeddv1 "embedd/proto/embedd/v1"
)

type mapCmd struct {
	outputFlags
	clientFlags
}

func (mapCmd) Help() string {
	return `The server keeps the map in memory, for /map and GetMap, until it is stopped; serve --map has it drawn behind each start. With --data the clusters
are shown and nothing is kept. See docs/map.md.

Example:
  embedd map`
}

func (c *mapCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	last, err := c.draw(e, cl)
	for told := false; beingMade(err); last, err = c.draw(e, cl) { // by the server itself, or for somebody else
		if !told {
			fmt.Fprintf(e.stderr, "embedd: note: %s; this waits for it\n", explain(err))
			told = true
		}
		if err := sleep(e.ctx, time.Second); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, last)
	}
	t := newTable(e.stdout)
	for _, k := range last.GetClusters() {
		t.row(fmt.Sprint(k.GetPapers()), printable(k.GetLabel()))
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "embedd: a map of %s in %d clusters\n", papersText(last.GetPapers()), len(last.GetClusters()))
	return err
}

// beingMade tells whether a map is refused because one is being made.
func beingMade(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "is being made")
}

// draw has the map drawn, and shows how far it is.
func (c *mapCmd) draw(e *env, cl *client) (last *embeddv1.ComputeMapResponse, err error) {
	stream, err := cl.maps.ComputeMap(e.ctx, &embeddv1.ComputeMapRequest{})
	if err != nil {
		return nil, err
	}
	var bar *progress
	done := func() {
		if bar != nil {
			bar.Done()
		}
	}
	defer func() { done() }()
	for {
		res, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && last.GetPapers() > 0:
			return last, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("the server has not said what came of the map")
		case err != nil:
			return nil, err
		}
		if last = res; res.GetStage() == "" {
			continue
		}
		if bar == nil || bar.what != res.GetStage() {
			done()
			bar = newProgress(e, res.GetStage(), "")
		}
		if res.GetTotal() > 0 {
			bar.Set(int(res.GetDone()), int(res.GetTotal()))
		}
	}
}

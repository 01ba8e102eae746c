package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	embeddv1 "embedd/proto/embedd/v1"
)

type collectionsCmd struct {
	Create   collectionsCreateCmd   `cmd:"" help:"Make an empty collection."`
	List     collectionsListCmd     `cmd:"" help:"List the collections."`
	Describe collectionsDescribeCmd `cmd:"" help:"Show one collection."`
	Delete   collectionsDeleteCmd   `cmd:"" help:"Remove a collection and all of its papers, for good."`
	Alias    collectionsAliasCmd    `cmd:"" help:"Have another name stand for a collection."`
	Unalias  collectionsUnaliasCmd  `cmd:"" help:"Take an alias away."`
}

type collectionsCreateCmd struct {
	outputFlags
	Name string `arg:"" help:"What it is called: 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit."`

	Model          string   `help:"Id of its sentence encoder; default: that of the default collection." placeholder:"ID" env:"-"`
	Dimension      int32    `help:"Cut vectors to their first N values, where the model was trained for it; 0: all. With --own-vectors: how many values they have." default:"0" placeholder:"N" env:"-"`
	OwnVectors     bool     `help:"Papers bring their own vectors, and texts are not encoded." env:"-"`
	Sentences      bool     `help:"Encode each sentence on its own and keep it; see docs/search.md." env:"-"`
	Passages       bool     `help:"Keep a text that is longer than the model reads as several passages." env:"-"`
	Neighbours     int32    `help:"Keep N neighbours of each paper, from which related papers are answered; 0: none." default:"0" placeholder:"N" env:"-"`
	Field          []string `help:"A field that the metadata may have, as NAME:TYPE with string, number, bool or date, and [] behind the type where there may be several values, ! where there must be one; can be given more than once. Without: any." placeholder:"NAME:TYPE" env:"-" sep:"none"`
	M              int32    `help:"HNSW: links of a new paper on each level of the graph; 0: the server's." default:"0" placeholder:"N" env:"-"`
	EfConstruction int32    `help:"HNSW: candidates looked at for these links; 0: the server's." default:"0" placeholder:"N" env:"-"`

	Server       string     `help:"Address of a running server; without a port, 50051." default:"127.0.0.1:50051" placeholder:"HOST[:PORT]"`
	Reach        reachFlags `embed:"" group:"With --server:"`
	Data         string     `help:"Open this data directory without a server." placeholder:"DIR"`
	DefaultModel string     `help:"Model of the data directory's default collection." group:"With --data:" default:"${model}" placeholder:"ID"`
	Models       string     `help:"Folder of the models; default: models in the .embedd folder." group:"With --data:" placeholder:"DIR"`
	Library      string     `help:"ONNX Runtime's shared library; default: lib in the .embedd folder." group:"With --data:" placeholder:"FILE"`
}

func (collectionsCreateCmd) Help() string {
	return `What a collection is made with does not change: to change it, make another, index into that, and move an alias; see docs/collections.md.

Example:
  embedd collections create papers-v2 --neighbours 20
  embedd index --collection papers-v2 papers.jsonl
  embedd collections alias papers papers-v2`
}

func (c *collectionsCreateCmd) Run(e *env) (err error) {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	place := placeFlags{Server: c.Server, Reach: c.Reach, Data: c.Data, Engine: engineFlags{
		Model: c.DefaultModel, Models: c.Models, Library: c.Library, Provider: "cpu", M: usualM, EfConstruction: usualEfConstruction, IndexMemory: "residual",
	}}
	cl, err := place.openAll(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.collections.CreateCollection(e.ctx, &embeddv1.CreateCollectionRequest{Name: c.Name, Settings: settings})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	_, err = fmt.Fprintf(e.stdout, "made collection %s with %s\n", res.GetCollection().GetName(), settingsLine(res.GetCollection()))
	return err
}

var fieldTypeNames = map[string]embeddv1.FieldType{
	"string": embeddv1.FieldType_FIELD_TYPE_STRING, "number": embeddv1.FieldType_FIELD_TYPE_NUMBER,
	"bool": embeddv1.FieldType_FIELD_TYPE_BOOL, "date": embeddv1.FieldType_FIELD_TYPE_DATE,
}

// settings are those of the flags.
func (c *collectionsCreateCmd) settings() (*embeddv1.Settings, error) {
	s := &embeddv1.Settings{
		Model: c.Model, Dimension: c.Dimension, OwnVectors: c.OwnVectors, Sentences: c.Sentences, Passages: c.Passages,
		Neighbours: c.Neighbours, M: c.M, EfConstruction: c.EfConstruction,
	}
	for _, text := range c.Field {
		i := strings.LastIndexByte(text, ':')
		kind, required := strings.CutSuffix(text[i+1:], "!")
		kind, repeated := strings.CutSuffix(kind, "[]")
		if i < 1 || fieldTypeNames[kind] == 0 {
			return nil, fmt.Errorf("--field: %q is not NAME:TYPE with the type string, number, bool or date; behind it [] says that there may be several values, and ! that there must be one", text)
		}
		s.Fields = append(s.Fields, &embeddv1.FieldSchema{Name: text[:i], Type: fieldTypeNames[kind], Repeated: repeated, Required: required})
	}
	return s, nil
}

// settingsLine is what a collection was made with, in a line.
func settingsLine(c *embeddv1.CollectionInfo) string {
	s := c.GetSettings()
	out := []string{"model " + s.GetModel()}
	if s.GetOwnVectors() {
		out = []string{"vectors of their own"}
	}
	if d := cmp.Or(c.GetModel().GetDimension(), s.GetDimension()); d > 0 {
		out = append(out, fmt.Sprintf("%d dimensions", d))
	}
	if s.GetSentences() {
		out = append(out, "sentences")
	}
	if s.GetPassages() {
		out = append(out, "passages")
	}
	if n := s.GetNeighbours(); n > 0 {
		out = append(out, fmt.Sprintf("%d neighbours", n))
	}
	if n := len(s.GetFields()); n > 0 {
		out = append(out, fmt.Sprintf("%d fields", n))
	}
	return strings.Join(out, ", ")
}

type collectionsListCmd struct {
	outputFlags
	placeFlags
}

func (collectionsListCmd) Help() string {
	return `Example:
  embedd collections list`
}

func (c *collectionsListCmd) Run(e *env) (err error) {
	cl, err := c.openAll(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.collections.ListCollections(e.ctx, &embeddv1.ListCollectionsRequest{})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	t := newTable(e.stdout, "NAME", "PAPERS", "CREATED", "ALIASES", "MADE WITH")
	for _, of := range res.GetCollections() {
		papers, created := fmt.Sprint(of.GetCounts().GetPapers()), "with the data directory"
		if of.GetUnavailable() != "" {
			papers = "cannot be used: " + of.GetUnavailable()
		}
		if of.GetCreated() != nil {
			created = of.GetCreated().AsTime().Format("2006-01-02 15:04:05 MST")
		}
		t.row(of.GetName(), papers, created, strings.Join(of.GetAliases(), " "), settingsLine(of))
	}
	return t.flush()
}

type collectionsDescribeCmd struct {
	outputFlags
	placeFlags
	Name string `arg:"" help:"Its name, or an alias."`
}

func (collectionsDescribeCmd) Help() string {
	return `Example:
  embedd collections describe papers`
}

func (c *collectionsDescribeCmd) Run(e *env) (err error) {
	cl, err := c.openAll(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.collections.DescribeCollection(e.ctx, &embeddv1.DescribeCollectionRequest{Name: c.Name})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	of := res.GetCollection()
	t := newTable(e.stdout)
	t.row("name", of.GetName())
	if why := of.GetUnavailable(); why != "" {
		t.row("cannot be used", why)
	}
	t.row("aliases", cmp.Or(strings.Join(of.GetAliases(), " "), "none"))
	if of.GetCreated() != nil {
		t.row("created", of.GetCreated().AsTime().Format("2006-01-02 15:04:05 MST"))
	}
	t.row("made with", settingsLine(of))
	for _, f := range of.GetSettings().GetFields() {
		line := strings.ToLower(strings.TrimPrefix(f.GetType().String(), "FIELD_TYPE_"))
		if f.GetRepeated() {
			line += ", several"
		}
		if f.GetRequired() {
			line += ", required"
		}
		t.row("field "+printable(f.GetName()), line)
	}
	if of.GetModel() != nil {
		t.row("fingerprint", of.GetModel().GetFingerprint())
		t.row("papers", fmt.Sprint(of.GetCounts().GetPapers()))
		t.row("indexed vectors", fmt.Sprintf("%d, %d tombstones", of.GetCounts().GetIndexedVectors(), of.GetCounts().GetTombstones()))
		t.row("index version", fmt.Sprint(of.GetIndexVersion()))
	}
	return t.flush()
}

type collectionsDeleteCmd struct {
	placeFlags
	Name string `arg:"" help:"Its own name."`
	Yes  bool   `help:"Do not ask." env:"-"`
}

func (collectionsDeleteCmd) Help() string {
	return `The backups in the collection's folder go with it: bring elsewhere what is to be kept.

Example:
  embedd collections delete papers-v1 --yes`
}

func (c *collectionsDeleteCmd) Run(e *env) (err error) {
	terminal := false
	if f, ok := e.stdin.(*os.File); ok {
		terminal = term.IsTerminal(int(f.Fd()))
	}
	if !c.Yes && !terminal {
		return errors.New("this removes all papers of the collection for good; add --yes")
	}
	cl, err := c.openAll(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if !c.Yes {
		res, err := cl.collections.DescribeCollection(e.ctx, &embeddv1.DescribeCollectionRequest{Name: c.Name})
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stderr, "Remove collection %s with %s and its backups, for good? Type its name to do so: ", c.Name, papersText(res.GetCollection().GetCounts().GetPapers()))
		line, err := bufio.NewReader(e.stdin).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != c.Name {
			return errors.New("nothing was removed")
		}
	}
	res, err := cl.collections.DeleteCollection(e.ctx, &embeddv1.DeleteCollectionRequest{Name: c.Name})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "deleted collection %s with %s\n", c.Name, papersText(res.GetPapers()))
	return err
}

type collectionsAliasCmd struct {
	placeFlags
	Alias string `arg:"" help:"The other name; default is one too, and is what calls without a collection then ask."`
	Name  string `arg:"" help:"The collection's own name."`
}

func (collectionsAliasCmd) Help() string {
	return `The alias may stand for another collection already: it moves from one moment to the next.

Example:
  embedd collections alias papers papers-v2`
}

func (c *collectionsAliasCmd) Run(e *env) (err error) {
	cl, err := c.openAll(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.collections.SetAlias(e.ctx, &embeddv1.SetAliasRequest{Alias: c.Alias, Collection: c.Name})
	if err != nil {
		return err
	}
	before := ""
	if res.GetBefore() != "" {
		before = ", and stood for " + res.GetBefore() + " before"
	}
	_, err = fmt.Fprintf(e.stdout, "%s stands for %s%s\n", c.Alias, c.Name, before)
	return err
}

type collectionsUnaliasCmd struct {
	placeFlags
	Alias string `arg:"" help:"The alias."`
}

func (collectionsUnaliasCmd) Help() string {
	return `Example:
  embedd collections unalias papers`
}

func (c *collectionsUnaliasCmd) Run(e *env) (err error) {
	cl, err := c.openAll(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if _, err := cl.collections.DeleteAlias(e.ctx, &embeddv1.DeleteAliasRequest{Alias: c.Alias}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s is no alias any more\n", c.Alias)
	return err
}

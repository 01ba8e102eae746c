package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"embedd/internal/ingest"
)

// dryReport is what some files have.
type dryReport struct {
	Forms      map[string]int `json:"forms"` // files of each
	Papers     int            `json:"papers"`
	PassedOver map[string]int `json:"passed_over"`
	Rejected   int            `json:"rejected"`
	Reasons    map[string]int `json:"reasons"` // rejected by each, with quotes and numbers left out

	With           map[string]int `json:"with"` // papers that have a field
	FirstYear      int32          `json:"first_year,omitempty"`
	LastYear       int32          `json:"last_year,omitempty"`
	CharactersMean float64        `json:"characters_mean"` // of title and abstract
	First          []paperLine    `json:"first"`           // papers
	characters     int
}

const (
	// firstPapers is how many papers a dry run shows.
	firstPapers = 3
	// mostReasons is how many reasons are told apart.
	mostReasons = 1000
	// shownReasons is how many of them people see.
	shownReasons = 10
)

// dryRun reads the files, and says what they have.
func (c *indexCmd) dryRun(e *env, o *indexOptions) error {
	r := &dryReport{Forms: map[string]int{}, PassedOver: map[string]int{}, Reasons: map[string]int{}, With: map[string]int{}, First: []paperLine{}}
	say := o.read.Opened
	o.read.Opened = func(file string, f *ingest.Format, note string) {
		r.Forms[f.Name]++
		say(file, f, note)
	}
	bar := newProgress(e, "reading", "papers")
	bar.about = true
	seen := 0
	for _, path := range c.Files {
		if err := r.file(e, path, o, bar, &seen); err != nil {
			bar.Done()
			return err
		}
	}
	bar.Done()
	if r.Papers > 0 {
		r.CharactersMean = float64(r.characters) / float64(r.Papers)
	}
	var err error
	if c.JSON {
		err = printJSON(e.stdout, r)
	} else {
		err = r.print(e)
	}
	if err == nil && o.lines > 0 {
		err = fmt.Errorf("%d lines of --abstracts were rejected%s", o.lines, c.whereRejects())
	}
	if err == nil && r.Rejected > 0 {
		err = fmt.Errorf("%d papers would be rejected%s", r.Rejected, c.whereRejects())
	}
	return err
}

// file reads one file. seen counts records, as --skip does.
func (r *dryReport) file(e *env, path string, o *indexOptions, bar *progress, seen *int) (err error) {
	in, err := ingest.Open(path, o.read)
	if err != nil {
		return err
	}
	defer finish(&err, in.Close)
	before := r.Papers + r.Rejected
	for {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		if *seen < o.skip {
			err := in.Skip()
			if _, bad := errors.AsType[*ingest.LineError](err); err != nil && !bad {
				if errors.Is(err, io.EOF) {
					break
				}
				return err
			}
			*seen++
			continue
		}
		p, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if bad, ok := errors.AsType[*ingest.LineError](err); ok {
			r.reject(e, lineRejection(bad), o)
		} else if err != nil {
			return err
		} else if m, err := paperOf(p); err != nil {
			s := source{where: path + ", paper " + p.ID}
			s.file, s.line, s.record = in.Position()
			r.reject(e, s.rejection(err.Error(), m), o)
		} else {
			r.take(p)
			if len(r.First) < firstPapers {
				r.First = append(r.First, lineOf(m))
			}
		}
		*seen++
		done, total := r.Papers+r.Rejected, 0
		if size := in.Size(); size > 0 && in.BytesRead() > 0 {
			total = before + int(float64(done-before)*float64(size)/float64(in.BytesRead()))
		}
		if done%64 == 0 {
			bar.Set(done, max(done, total))
		}
	}
	for reason, n := range in.Passed() {
		r.PassedOver[reason] += n
	}
	return nil
}

func (r *dryReport) reject(e *env, bad rejected, o *indexOptions) {
	r.Rejected++
	o.rejects.write(bad)
	if r.Rejected <= maxRejectionLines {
		fmt.Fprintf(e.stderr, "embedd: rejected: %s: %s\n", printable(bad.where), printable(bad.Reason))
	}
	reason := inGeneral(bad.Reason)
	if _, known := r.Reasons[reason]; !known && len(r.Reasons) >= mostReasons {
		reason = "other reasons"
	}
	r.Reasons[reason]++
}

var (
	quoted  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'.'`)
	numbers = regexp.MustCompile(`[0-9]+`)
)

// inGeneral is a reason without what is of one record.
func inGeneral(reason string) string {
	return firstRunes(numbers.ReplaceAllString(quoted.ReplaceAllString(reason, "…"), "N"), 200)
}

func (r *dryReport) take(p ingest.Paper) {
	r.Papers++
	for name, has := range map[string]bool{"abstract": p.Abstract != "", "authors": len(p.Authors) > 0, "year": p.Year != 0, "venue": p.Venue != "", "doi": p.DOI != "",
		"arxiv_id": p.ArxivID != "", "metadata": len(p.Metadata) > 0, "vector": p.Vector != nil} {
		if has {
			r.With[name]++
		}
	}
	r.characters += utf8.RuneCountInString(p.Title) + utf8.RuneCountInString(p.Abstract)
	if p.Year != 0 {
		if r.FirstYear == 0 || p.Year < r.FirstYear {
			r.FirstYear = p.Year
		}
		r.LastYear = max(r.LastYear, p.Year)
	}
}

// print writes the report for people.
func (r *dryReport) print(e *env) error {
	var out strings.Builder
	var forms []string
	for _, name := range slices.Sorted(maps.Keys(r.Forms)) {
		forms = append(forms, fmt.Sprintf("%s (%d)", name, r.Forms[name]))
	}
	fmt.Fprintf(&out, "forms, with files     %s\n", strings.Join(forms, ", "))
	fmt.Fprintf(&out, "papers                %d\n", r.Papers)
	if r.Papers > 0 {
		var with []string
		for _, name := range []string{"abstract", "authors", "year", "venue", "doi", "arxiv_id", "metadata", "vector"} {
			if n := r.With[name]; n > 0 {
				with = append(with, fmt.Sprintf("%s %d", name, n))
			}
		}
		if len(with) > 0 {
			fmt.Fprintf(&out, "of these with         %s\n", strings.Join(with, ", "))
		}
		if r.FirstYear != 0 {
			fmt.Fprintf(&out, "years                 %d to %d\n", r.FirstYear, r.LastYear)
		}
		fmt.Fprintf(&out, "title and abstract    %.0f characters on average\n", r.CharactersMean)
	}
	writeCounts(&out, "passed over", r.PassedOver)
	fmt.Fprintf(&out, "would be rejected     %d\n", r.Rejected)
	writeCounts(&out, "because", r.Reasons)
	for _, p := range r.First {
		fmt.Fprintf(&out, "\n%s\n%s\n", printable(p.ID), printable(p.Title))
		if len(p.Authors) > 0 {
			fmt.Fprintln(&out, printable(firstRunes(strings.Join(p.Authors, ", "), 100)))
		}
		if p.Abstract != "" {
			fmt.Fprintln(&out, printable(firstRunes(p.Abstract, 200)))
		}
	}
	_, err := io.WriteString(e.stdout, out.String())
	return err
}

// writeCounts writes the largest counts first.
func writeCounts(out io.Writer, what string, counts map[string]int) {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b)) })
	for i, name := range names {
		if i == shownReasons {
			fmt.Fprintf(out, "%-21s %d other reasons\n", "", len(names)-i)
			break
		}
		fmt.Fprintf(out, "%-21s %d: %s\n", what, counts[name], printable(name))
		what = ""
	}
}

// printPassed says which records of files are no papers.
func printPassed(e *env, passed map[string]int) error {
	for _, reason := range slices.Sorted(maps.Keys(passed)) {
		if _, err := fmt.Fprintf(e.stdout, "passed over: %d: %s\n", passed[reason], reason); err != nil {
			return err
		}
	}
	return nil
}

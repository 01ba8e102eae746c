package ingest

import (
	"bytes"
	"strconv"
	"strings"
)

func isACL(h *beginning) bool {
	return rootOf(h.text) == "collection" && (bytes.Contains(h.text, []byte("<volume")) || !h.whole && bytes.Contains(h.text, []byte("<collection id=")))
}

var aclAnthology = xmlForm{
	whole:  []string{"meta", "frontmatter", "paper", "event"},
	tags:   []string{"collection", "volume"},
	around: "event",
	read:   readACL,
}

// volume is what a file of the ACL Anthology has said of the volume that papers are in.
type volume struct{ collection, id, title, year, month, publisher string }

// readACL reads an element of a file of the ACL Anthology: what it says of a volume, or a paper.
func readACL(e element, v *volume) (Paper, error) {
	switch e.name() {
	case "collection":
		*v = volume{collection: e.attr("id")}
		return Paper{}, errNoRecord
	case "volume":
		*v = volume{collection: v.collection, id: e.attr("id")}
		return Paper{}, errNoRecord
	case "meta":
		v.title, v.year, v.month, v.publisher = e.child("booktitle").text(), e.child("year").text(), e.child("month").text(), e.child("publisher").text()
		return Paper{}, errNoRecord
	case "event":
		return Paper{}, errNoRecord
	case "frontmatter":
		return Paper{}, passedOver("front matter of a volume")
	}
	number := e.attr("id")
	if number == "0" {
		return Paper{}, passedOver("front matter of a volume")
	}
	id := aclID(v.collection, v.id, number)
	if id == "" {
		return Paper{}, at("id", "want a collection, a volume and a number, got %q, %q and %q", shorten(v.collection), shorten(v.id), shorten(number))
	}
	p := Paper{ID: "ACL:" + id, URL: "https://aclanthology.org/" + id, Title: e.child("title").text(), Abstract: e.child("abstract").text(), Venue: v.title,
		DOI: bareDOI(e.child("doi").text()), Year: yearOf(v.year)}
	if year := e.child("year").text(); p.Year == 0 {
		p.Year = yearOf(year)
	}
	e.each("author", func(a element) {
		p.Authors = append(p.Authors, name(a.child("first").text(), a.child("last").text(), ""))
	})
	f := facts{}
	if p.Year > 0 {
		month, _, _ := strings.Cut(strings.ReplaceAll(v.month, "–", "-"), "-")
		f.put("published", dateOf(int(p.Year), monthOf(month), 0))
	}
	f.put("publisher", v.publisher)
	f.put("language", e.child("language").text())
	f.put("bibkey", e.child("bibkey").text())
	f.put("retracted", e.child("retracted").exists())
	return finish(p, f)
}

// aclID is the id of a paper of the Anthology. Ids of before 2020 have four digits behind the year: of the volume and the paper, of which
// workshops' volumes take two.
func aclID(collection, volume, number string) string {
	if collection == "" || volume == "" || number == "" {
		return ""
	}
	if strings.Contains(collection, ".") {
		return collection + "-" + volume + "." + number
	}
	v, err := strconv.Atoi(volume)
	n, err2 := strconv.Atoi(number)
	if err != nil || err2 != nil || v < 0 || n < 0 {
		return ""
	}
	digits := 1
	if strings.HasPrefix(collection, "W") || collection == "C69" || collection == "D19" && v >= 5 {
		digits = 2
	}
	text := func(n, digits int) string {
		s := strconv.Itoa(n)
		return strings.Repeat("0", max(0, digits-len(s))) + s
	}
	return collection + "-" + text(v, digits) + text(n, 4-digits)
}

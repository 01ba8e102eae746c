package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// abstractText is as long as an abstract of arXiv most often is.
var abstractText = strings.Repeat("In this paper, we look at how papers are found — and by whom. ", 20)

// benchFiles are files of each form with n good records of the usual size; Parquet is left to the library's own benchmarks.
func benchFiles(n int) map[string][]byte {
	write := func(before, after string, record func(b *bytes.Buffer, i int)) []byte {
		var b bytes.Buffer
		b.WriteString(before)
		for i := range n {
			record(&b, i)
		}
		b.WriteString(after)
		return b.Bytes()
	}
	inverted := func(b *bytes.Buffer) {
		places := map[string][]string{}
		for i, w := range strings.Fields(abstractText) {
			places[w] = append(places[w], fmt.Sprint(i))
		}
		comma := ""
		for w, at := range places {
			fmt.Fprintf(b, `%s%q:[%s]`, comma, w, strings.Join(at, ","))
			comma = ","
		}
	}
	return map[string][]byte{
		"jsonl": write("", "", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, `{"id":"p%d","title":"Of papers, number %d","abstract":%q,"authors":["A B","C D"],"year":2024,"metadata":{"categories":["cs.CL"]}}`+"\n", i, i, abstractText)
		}),
		"arxiv": write("", "", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, `{"id":"2401.%05d","submitter":"A B","authors":"A. B, C. D","title":"Of papers, number %d","comments":"10 pages","journal-ref":null,"doi":null,"report-no":null,"categories":"cs.CL cs.LG","license":"http://arxiv.org/licenses/nonexclusive-distrib/1.0/","abstract":%q,"versions":[{"version":"v1","created":"Mon, 2 Apr 2007 19:18:42 GMT"}],"update_date":"2008-11-26","authors_parsed":[["B","A.",""],["D","C.",""]]}`+"\n", i%100000, i, abstractText)
		}),
		"openalex": write("", "", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, `{"id":"https://openalex.org/W%d","doi":"https://doi.org/10.1/%d","title":"Of papers, number %d","publication_year":2024,"publication_date":"2024-02-13","type":"article","authorships":[{"author":{"id":"https://openalex.org/A1","display_name":"A B"},"institutions":[{"id":"https://openalex.org/I1","display_name":"Somewhere","ror":"https://ror.org/1","country_code":"DE"}]}],"referenced_works":[%s"https://openalex.org/W1"],"abstract_inverted_index":{`, i+1, i, i, strings.Repeat(`"https://openalex.org/W2741809807",`, 40))
			inverted(b)
			b.WriteString("}}\n")
		}),
		"s2": write("", "", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, `{"corpusid":%d,"externalids":{"ACL":null,"DBLP":"x","ArXiv":null,"MAG":"3015453090","CorpusId":"%d","PubMed":null,"DOI":"10.1/%d","PubMedCentral":null},"url":"https://www.semanticscholar.org/paper/x","title":"Of papers, number %d","authors":[{"authorId":"1","name":"A B"}],"venue":"V","year":2020,"referencecount":64,"citationcount":250,"s2fieldsofstudy":[{"category":"Computer Science","source":"x"}],"publicationtypes":["JournalArticle"],"publicationdate":"2020-07-01","journal":{"name":null}}`+"\n", i+1, i+1, i, i)
		}),
		"crossref": write(`{"items":[`, "]}", func(b *bytes.Buffer, i int) {
			if i > 0 {
				b.WriteString(",\n")
			}
			fmt.Fprintf(b, `{"DOI":"10.1/%d","URL":"http://dx.doi.org/10.1/%d","type":"journal-article","title":["Of papers, number %d"],"abstract":%q,"author":[{"given":"A","family":"B"}],"issued":{"date-parts":[[2019,7,25]]},"container-title":["V"],"reference":[%s{}]}`, i, i, i, "<jats:p>"+abstractText+"</jats:p>", strings.Repeat(`{"key":"e_1_2_1_1_1","doi-asserted-by":"publisher","DOI":"10.1145/1","unstructured":"A reference, as it stands in the paper"},`, 20))
		}),
		"pubmed": write("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<PubmedArticleSet>\n", "</PubmedArticleSet>\n", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, "<PubmedArticle><MedlineCitation><PMID Version=\"1\">%d</PMID><Article><Journal><JournalIssue><PubDate><Year>2020</Year></PubDate></JournalIssue><Title>V</Title></Journal><ArticleTitle>Of papers, number %d</ArticleTitle><Abstract><AbstractText>%s</AbstractText></Abstract><AuthorList><Author><LastName>B</LastName><ForeName>A</ForeName></Author></AuthorList></Article></MedlineCitation><PubmedData><ReferenceList>%s</ReferenceList></PubmedData></PubmedArticle>\n", i+1, i, abstractText,
				strings.Repeat("<Reference><Citation>A reference, as it stands in the paper</Citation><ArticleIdList><ArticleId IdType=\"pubmed\">1</ArticleId></ArticleIdList></Reference>", 20))
		}),
		"oai": write("<OAI-PMH><ListRecords>\n", "</ListRecords></OAI-PMH>", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, "<record><header><identifier>oai:arXiv.org:2401.%05d</identifier></header><metadata><arXiv><id>2401.%05d</id><created>2024-01-01</created><authors><author><keyname>B</keyname><forenames>A</forenames></author></authors><title>Of papers, number %d</title><categories>cs.CL</categories><abstract>%s</abstract></arXiv></metadata></record>\n", i%100000, i%100000, i, abstractText)
		}),
		"acl": write(`<collection id="2021.acl"><volume id="1"><meta><booktitle>V</booktitle><year>2021</year></meta>`, "</volume></collection>", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, "<paper id=\"%d\"><title>Of papers, number <fixed-case>N</fixed-case>%d</title><author><first>A</first><last>B</last></author><abstract>%s</abstract></paper>\n", i+1, i, abstractText)
		}),
		"dblp": write("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<dblp>", "</dblp>", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, "<article mdate=\"2020-06-22\" key=\"journals/a/%d\"><author>G&ouml;tz B</author><title>Of papers, number %d.</title><pages>1-10</pages><year>1996</year><journal>V</journal><ee>https://doi.org/10.1000/%d</ee></article>\n", i, i, i)
		}),
		"bibtex": write("", "", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, "@article{k%d,\n  author = {M{\\\"u}ller, A. and B, C.},\n  title = {Of papers, number %d},\n  journal = {V},\n  year = 2020,\n  abstract = {%s}\n}\n\n", i, i, abstractText)
		}),
		"ris": write("", "", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, "TY  - JOUR\nAU  - B, A.\nTI  - Of papers, number %d\nPY  - 2020\nAB  - %s\nDO  - 10.1000/%d\nER  - \n\n", i, abstractText, i)
		}),
		"csv": write("id,title,abstract,authors,year\n", "", func(b *bytes.Buffer, i int) {
			fmt.Fprintf(b, "p%d,\"Of papers, number %d\",\"%s\",A B; C D,2020\n", i, i, abstractText)
		}),
	}
}

// cpuTime is the time that this process has had of CPUs.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkForms reads files of each form. MB/s and records/s are of the clock; records/cpu-s, by the time of all CPUs with the collection of
// garbage, do not depend on what else the machine does.
func BenchmarkForms(b *testing.B) {
	const n = 2000
	for form, content := range benchFiles(n) {
		b.Run(form, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "papers")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				r, err := Open(path)
				if err != nil {
					b.Fatal(err)
				}
				papers := 0
				for ; ; papers++ {
					if _, err = r.Next(); err != nil {
						break
					}
				}
				if !errors.Is(err, io.EOF) || papers != n {
					b.Fatalf("%d papers, %v", papers, err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
			records := float64(n) * float64(b.N)
			b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(records/(cpuTime(b)-before).Seconds(), "records/cpu-s")
		})
	}
}

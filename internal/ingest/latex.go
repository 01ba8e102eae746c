package ingest

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// This file reads the LaTeX that bibliographies have in their texts: accents, letters, quotes and dashes, and commands for how a text looks. What
// is between $ stays as it is, and so does a command that is not known.

// accents are the characters that are set on the one before them, by LaTeX's commands.
var accents = map[string]string{"`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", `"`: "\u0308", "=": "\u0304", ".": "\u0307",
	"u": "\u0306", "v": "\u030c", "H": "\u030b", "c": "\u0327", "k": "\u0328", "r": "\u030a", "b": "\u0331", "d": "\u0323"}

// letters are commands that stand for a text.
var letters = map[string]string{"ss": "ß", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å", "AA": "Å", "i": "ı", "j": "ȷ",
	"dh": "ð", "DH": "Ð", "th": "þ", "TH": "Þ", "ng": "ŋ", "NG": "Ŋ", "dj": "đ", "DJ": "Đ",
	"&": "&", "%": "%", "$": "$", "#": "#", "_": "_", "{": "{", "}": "}", " ": " ", "-": "", "/": "", ",": " ", ";": " ", "!": "", "\\": " ", "@": "",
	"textendash": "–", "textemdash": "—", "ldots": "…", "dots": "…", "textellipsis": "…", "textquoteright": "’", "textquoteleft": "‘", "textquotedblleft": "“",
	"textquotedblright": "”", "textasciitilde": "~", "textbackslash": `\`, "textunderscore": "_", "textdegree": "°", "copyright": "©", "textregistered": "®",
	"texttrademark": "™", "pounds": "£", "S": "§", "P": "¶", "TeX": "TeX", "LaTeX": "LaTeX", "slash": "/", "quad": " ", "textgreater": ">", "textless": "<",
	"textsuperscript": "", "textsubscript": "", "emph": "", "textit": "", "textbf": "", "texttt": "", "textsc": "", "textsf": "", "textrm": "", "textup": "", "mbox": "",
	"url": "", "it": "", "em": "", "bf": "", "tt": "", "sc": "", "rm": "", "sf": "", "protect": "", "relax": "", "noopsort": ""}

// fromLaTeX is the text that LaTeX sets.
func fromLaTeX(s string) string {
	if !strings.ContainsAny(s, "\\{}~`'-$") {
		return s
	}
	var out strings.Builder
	accented := false
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '$':
			end := strings.IndexByte(s[i+1:], '$')
			if end < 0 {
				end = len(s) - i - 2
			}
			out.WriteString(s[i : i+end+2])
			i += end + 2
		case c == '{' || c == '}':
			i++
		case c == '~':
			out.WriteByte(' ')
			i++
		case strings.HasPrefix(s[i:], "---"):
			out.WriteString("—")
			i += 3
		case strings.HasPrefix(s[i:], "--"):
			out.WriteString("–")
			i += 2
		case strings.HasPrefix(s[i:], "``"):
			out.WriteString("“")
			i += 2
		case strings.HasPrefix(s[i:], "''"):
			out.WriteString("”")
			i += 2
		case c == '\\' && i+1 < len(s):
			name := commandName(s[i+1:])
			i += 1 + len(name)
			if mark, ok := accents[name]; ok {
				base, n := accentBase(s[i:])
				if base != "" {
					out.WriteString(base + mark)
					accented = true
					i += n
					continue
				}
			}
			text, known := letters[name]
			if !known {
				out.WriteString(`\` + name)
				if i < len(s) && s[i] == '{' { // what is in the braces stays apart from the name
					out.WriteByte(' ')
				}
				continue
			}
			out.WriteString(text)
			if isLetter(name[0]) { // blanks end the name of a command
				i += blankBytes([]byte(s[i:min(len(s), i+16)]))
			}
		default:
			out.WriteByte(c)
			i++
		}
	}
	if !accented {
		return out.String()
	}
	return norm.NFC.String(out.String())
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// commandName is the name of a command: letters, or one other character.
func commandName(s string) string {
	n := 0
	for n < len(s) && isLetter(s[n]) {
		n++
	}
	if n == 0 {
		one, _ := firstRune(s)
		return one
	}
	return s[:n]
}

// accentBase reads what an accent is set on: a letter, in braces or not, or \i and \j. It gives "" where there is none.
func accentBase(s string) (base string, n int) {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] == '{') {
		i++
	}
	open := strings.Count(s[:i], "{")
	if i == len(s) {
		return "", 0
	}
	if s[i] == '\\' {
		name := commandName(s[i+1:])
		if base = letters[name]; base == "" || !isLetter(name[0]) {
			return "", 0
		}
		i += 1 + len(name)
		switch base {
		case "ı":
			base = "i"
		case "ȷ":
			base = "j"
		}
	} else {
		var size int
		if base, size = firstRune(s[i:]); base == "}" || base == "$" {
			return "", 0
		}
		i += size
	}
	for open > 0 && i < len(s) && s[i] == '}' {
		i++
		open--
	}
	return base, i
}

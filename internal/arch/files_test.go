package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// byPath are functions that open, make, name or remove what a path leads to, wherever a link on the way points. Below a data directory files
// are come by through an os.Root, which does not leave it.
var byPath = map[string][]string{
	"os": {"Chdir", "Chmod", "Chown", "Chtimes", "CopyFS", "Create", "CreateTemp", "DirFS", "Lchown", "Link", "Lstat", "Mkdir", "MkdirAll", "MkdirTemp", "Open",
		"OpenFile", "OpenInRoot", "OpenRoot", "ReadDir", "ReadFile", "Readlink", "Remove", "RemoveAll", "Rename", "Stat", "Symlink", "Truncate", "WriteFile"},
	"filepath": {"EvalSymlinks", "Glob", "Walk", "WalkDir"},
	"ann":      {"Open"},
	"vfs":      {"Default"},
}

// outside are the calls that may be made all the same: of what, in which file, why.
var outside = map[string]map[string]string{
	"internal/store/rootfs.go": {
		"filepath.EvalSymlinks": "the root itself, which may be come by through a link",
		"os.OpenRoot":           "the root itself",
		"os.Stat":               "the root itself",
		"vfs.Default":           "makes the root where it is missing, and its parents",
	},
	"internal/store/rootfs_other.go": {
		"vfs.Default": "asks for the room on the disk; nothing is opened",
	},
}

func TestFilesBelowARoot(t *testing.T) {
	for _, room := range []string{"internal/store", "internal/retrieval", "internal/collections"} {
		files, err := filepath.Glob(filepath.Join("../..", room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has the files %v, %v", room, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			name := room + "/" + filepath.Base(file)
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			used := map[string]bool{}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && slices.Contains(byPath[x.Name], s.Sel.Name) {
						used[x.Name+"."+s.Sel.Name] = true
					}
				}
				return true
			})
			for call := range used {
				if outside[name][call] == "" {
					t.Errorf("%s uses %s, which follows a link out of the data directory: use the os.Root, or give the reason in the table", name, call)
				}
			}
			for call := range outside[name] {
				if !used[call] {
					t.Errorf("the table has a line for %s of %s, which is not there", call, name)
				}
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

// A metadata service in Go's net/http, as EVE-OS has one: documents by path in a map.
package main

import (
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	address, root := os.Args[1], os.Args[2]
	documents := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		documents[strings.TrimPrefix(path, root)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, found := documents[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(document)
	})))
}

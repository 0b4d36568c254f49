// Command testapp is the workload of tests/cluster/check: it serves HTTP, fetches a URL, or writes a file.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		fmt.Println("serving", args[2], "on", args[1])
		return http.ListenAndServe(args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, args[2]) }))
	case len(args) == 2 && args[0] == "get":
		client := http.Client{Timeout: 5 * time.Second}
		answer, err := client.Get(args[1])
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, err = io.Copy(os.Stdout, answer.Body)
		return err
	case len(args) == 3 && args[0] == "write":
		return os.WriteFile(args[1], []byte(args[2]), 0o600)
	case len(args) == 2 && args[0] == "read":
		content, err := os.ReadFile(args[1])
		fmt.Println(string(content))
		return err
	}
	return fmt.Errorf("use: testapp serve ADDRESS TEXT | get URL | write FILE TEXT | read FILE")
}

package main

import "testing"

func TestServerAddress(t *testing.T) {
	for in, want := range map[string]string{
		"localhost": "localhost:50051", "localhost:": "localhost:50051", "localhost:1": "localhost:1", "192.0.2.1": "192.0.2.1:50051", ":1": ":1",
		"::1": "[::1]:50051", "[::1]": "[::1]:50051", "[::1]:1": "[::1]:1", "unixmachine": "unixmachine:50051",
		"unix:/run/x": "unix:/run/x", "unix:x": "unix:x", "dns:///localhost:1": "dns:///localhost:1",
		"": "", " ": "", "http://localhost:1": "", "https://localhost": "", "HTTP://x": "", "a:b:c": "",
	} {
		if got, err := serverAddress(in); got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q, %v; want %q", in, got, err, want)
		}
	}
}

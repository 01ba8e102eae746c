package admin

import (
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Listen opens a loopback address: HOST:PORT, or :PORT for 127.0.0.1. Any other host is an error.
func Listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w; give HOST:PORT, or :PORT for 127.0.0.1", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("%s is not a loopback address, and whoever reaches this listener can read profiles and configuration; "+
			"listen on 127.0.0.1:%s, and come to it through an SSH tunnel (ssh -L %s:127.0.0.1:%s MACHINE) or a proxy that asks who is there", host, port, port, port)
	}
	return net.Listen("tcp", net.JoinHostPort(host, port))
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// onlyLoopback refuses requests for a host of another name, which a browser sends for a page that is not ours.
func onlyLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := r.Header.Get("Sec-Fetch-Site"); from != "" && from != "none" && from != "same-origin" {
			http.Error(w, "the request comes from a web page of another site", http.StatusForbidden)
			return
		}
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !isLoopback(strings.Trim(host, "[]")) {
			http.Error(w, "the request is for a host that is not a loopback address; a proxy in front of this listener must send Host: 127.0.0.1", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

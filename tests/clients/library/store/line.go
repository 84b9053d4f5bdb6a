package main

import (
	"io"
	"net"
	"sync"
)

// A line passes connections on to a server, and cuts the first ones after so many bytes of answer.
type line struct {
	listener net.Listener
	server   string
	reset    bool

	mu     sync.Mutex
	cuts   []int64
	opened int
	total  int64
}

// cutLine opens a line; its cuts are resets if reset, else look like an end.
func cutLine(server string, reset bool, cuts ...int64) (*line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &line{listener: listener, server: server, reset: reset, cuts: cuts}
	go l.serve()
	return l, nil
}

func (l *line) address() string { return l.listener.Addr().String() }
func (l *line) close()          { l.listener.Close() }

func (l *line) connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opened
}

// sent is how many bytes of answers went through.
func (l *line) sent() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Write counts what passes.
func (l *line) Write(answer []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total += int64(len(answer))
	return len(answer), nil
}

func (l *line) serve() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		limit := int64(-1)
		if l.opened < len(l.cuts) {
			limit = l.cuts[l.opened]
		}
		l.opened++
		l.mu.Unlock()
		go l.pass(client, limit)
	}
}

func (l *line) pass(client net.Conn, limit int64) {
	defer client.Close()
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer server.Close()
	go io.Copy(server, client)
	var answer io.Reader = server
	if limit >= 0 {
		answer = io.LimitReader(server, limit)
	}
	io.Copy(client, io.TeeReader(answer, l))
	if tcp, ok := client.(*net.TCPConn); ok && limit >= 0 && l.reset {
		tcp.SetLinger(0)
	}
}

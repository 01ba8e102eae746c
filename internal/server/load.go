package server

import (
	"sync/atomic"

	"embedd/internal/admission"
	embeddv1 "embedd/proto/embedd/v1"
)

// counts are what the door counts itself.
type counts struct {
	conns                                     atomic.Int64
	connsFull, connsAddress                   atomic.Uint64
	unauthenticated, denied, limited, tooLong atomic.Uint64
}

// Load is what a server holds at a moment, and what it has counted since its start.
type Load struct {
	// Classes are the gates by the name of the kind of work: search, encode, write, admin.
	Classes map[string]admission.Load
	// Connections are open.
	Connections int64
	// RequestBytes are of requests that have come, of calls that run and wait; AnswerBytes of answers until their clients have read
	// them. Messages under 16 KiB are not counted.
	RequestBytes, AnswerBytes int64
	// Refused is by reason. Connections: connections, connections_per_address. Calls: unauthenticated, permission_denied,
	// rate, message_bytes; and where messages took too much memory: request_coming, request_kept, answer_kept, and the connections that
	// were closed for it, answer_unread. What a gate refused is in Classes.
	Refused map[string]uint64
}

// Load returns what the server holds now. Its maps are the caller's.
func (s *Server) Load() Load {
	c := s.counts
	l := Load{Classes: map[string]admission.Load{}, Connections: c.conns.Load(), RequestBytes: s.intake.kept.Load(), AnswerBytes: s.intake.answers.Load(), Refused: map[string]uint64{
		"connections": c.connsFull.Load(), "connections_per_address": c.connsAddress.Load(),
		"unauthenticated": c.unauthenticated.Load(), "permission_denied": c.denied.Load(),
		"rate": c.limited.Load(), "message_bytes": c.tooLong.Load(),
		"request_coming": s.intake.cut.Load(), "request_kept": s.intake.keptFull.Load(), "answer_kept": s.intake.answersFull.Load(), "answer_unread": s.intake.closed.Load(),
	}}
	for class, g := range s.gates {
		l.Classes[className(class)] = g.Load()
	}
	return l
}

// gatesOf makes the gate of each class.
func gatesOf(limits map[embeddv1.Class]ClassLimits) map[embeddv1.Class]*admission.Gate {
	gates := map[embeddv1.Class]*admission.Gate{}
	for class, l := range limits {
		gates[class] = admission.New(l.Gate)
	}
	return gates
}

package retrieval

// Settings are what a collection is made with. They do not change: see the message of that name in the wire contract. The zero value is an
// ordinary collection.
type Settings struct {
	// OwnVectors: papers bring their own vectors, of Dimension values, and texts are not encoded.
	OwnVectors bool `json:"own_vectors,omitempty"`
	// Dimension of vectors of their own.
	Dimension int `json:"dimension,omitempty"`
	// Sentences are encoded on their own and kept.
	Sentences bool `json:"sentences,omitempty"`
	// Passages: a text that is longer than the model reads is kept as several vectors.
	Passages bool `json:"passages,omitempty"`
	// Neighbours of each paper that are kept, 0 to 100.
	Neighbours int `json:"neighbours,omitempty"`
	// Fields that the papers' metadata may have; none: any.
	Fields []FieldSchema `json:"fields,omitempty"`
}

// FieldSchema is a promise about a member of the metadata: a paper that does not keep it is refused.
type FieldSchema struct {
	Name string `json:"name"`
	// Type is a name of metadata's types: string, number, bool or date.
	Type     string `json:"type"`
	Repeated bool   `json:"repeated,omitempty"`
	Required bool   `json:"required,omitempty"`
}

// Check refuses what does not go together; so does Open.
func (s *Settings) Check() error {
	switch {
	case s.OwnVectors && s.Sentences:
		return invalid("settings.sentences", "is set beside own_vectors, with which texts are not encoded; leave one of the two out")
	case s.OwnVectors && s.Passages:
		return invalid("settings.passages", "is set beside own_vectors, with which texts are not encoded; leave one of the two out")
	case s.Passages && s.Neighbours > 0:
		return invalid("settings.passages", "is set beside neighbours, which are those of whole texts; leave one of the two out")
	}
	return nil
}

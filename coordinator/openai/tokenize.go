package openai

import (
	"math"
	"net/http"
)

// tokenized is what /tokenize answers.
type tokenized struct {
	Count     int      `json:"count"`
	MaxLength int      `json:"max_model_len"`
	Tokens    []int32  `json:"tokens"`
	Texts     []string `json:"token_strs,omitempty"`
}

// tokenize returns the ids of a prompt or of a chat, as vLLM's endpoint of this
// name does.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
	f, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	s.readModel(f)
	texts := f.flag("return_token_strs")
	ids, err := s.readTokenize(f)
	if err != nil {
		return err
	}
	answer := tokenized{
		Count: len(ids), MaxLength: s.cfg.Engine.Context(), Tokens: append([]int32{}, ids...),
	}
	if texts {
		for _, id := range ids {
			answer.Texts = append(answer.Texts, s.cfg.Tokenizer.Decode([]int32{id}, false))
		}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// readTokenize returns the ids of what the request holds: a prompt or messages.
func (s *Server) readTokenize(f *fields) ([]int32, *apiError) {
	if _, chats := f.get("messages"); !chats {
		text, whole := f.text("prompt"), f.flagOr("add_special_tokens", true)
		if _, ok := f.get("prompt"); !ok {
			f.fail(invalid("prompt", "Missing required parameter: 'prompt' or 'messages'."))
		}
		if f.err != nil {
			return nil, f.err
		}
		return s.textPrompt(text, whole).ids, nil
	}
	f.refuse("add_special_tokens", "other than false is not supported with 'messages'", "false")
	if f.err == nil {
		f.err = s.needTemplate("messages")
	}
	if f.err != nil {
		return nil, f.err
	}
	c := conversation{
		field: "messages", messages: readMessages(f), tools: s.readTools(f, false),
		thinking: s.readThinking(f),
	}
	c.opening = readOpening(f, c.messages)
	if f.err != nil {
		return nil, f.err
	}
	return s.render(&c)
}

// detokenize returns the text of token ids.
func (s *Server) detokenize(w http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
	f, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	s.readModel(f)
	ids := s.readTokens(f, "tokens", math.MaxInt32)
	if _, ok := f.get("tokens"); !ok {
		f.fail(invalid("tokens", "Missing required parameter: 'tokens'."))
	}
	if f.err != nil {
		return f.err
	}
	text := s.cfg.Tokenizer.Decode(ids, false)
	writeJSON(w, http.StatusOK, map[string]string{"prompt": text})
	return nil
}

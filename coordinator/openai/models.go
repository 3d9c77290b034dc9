package openai

import (
	"fmt"
	"net/http"
)

// modelCard describes the model as /v1/models does.
type modelCard struct {
	ID        string `json:"id"`
	Object    string `json:"object"`
	Created   int64  `json:"created"`
	OwnedBy   string `json:"owned_by"`
	MaxLength int    `json:"max_model_len"` // as vLLM: prompt and completion, in tokens
	// Quantization is Config's.
	Quantization string `json:"quantization,omitempty"`
}

func (s *Server) card() modelCard {
	return modelCard{
		ID: s.cfg.ModelName, Object: "model", Created: s.cfg.Created.Unix(), OwnedBy: "conclave",
		MaxLength: s.cfg.Engine.Context(), Quantization: s.cfg.Quantization,
	}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request, _ *exchange) *apiError {
	writeJSON(w, http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []modelCard `json:"data"`
	}{"list", []modelCard{s.card()}})
	return nil
}

func (s *Server) model(w http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
	if err := s.checkModel(r.PathValue("id")); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.card())
	return nil
}

// maxModelName is longer than the names that models have.
const maxModelName = 128

// checkModel refuses a model that is not served here.
func (s *Server) checkModel(name string) *apiError {
	if name == s.cfg.ModelName {
		return nil
	}
	return &apiError{
		status: http.StatusNotFound, kind: typeInvalid, param: "model", code: "model_not_found",
		message: fmt.Sprintf("The model '%s' does not exist; this server has '%s'.",
			shorten(name, maxModelName), s.cfg.ModelName),
	}
}

// healthz says that the process is up.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request, _ *exchange) *apiError {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// readyz says whether a completion would be served now.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request, _ *exchange) *apiError {
	if err := s.cfg.Engine.Ready(); err != nil {
		return unavailable("not_ready", err)
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	return nil
}

// version tells which Conclave this is.
func (s *Server) version(w http.ResponseWriter, _ *http.Request, _ *exchange) *apiError {
	writeJSON(w, http.StatusOK, map[string]string{"version": s.cfg.Version})
	return nil
}

// onlyText refuses what other kinds of models are for.
func (s *Server) onlyText(_ http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: typeInvalid, param: "model", code: "model_not_supported",
		message: fmt.Sprintf("The model '%s' generates text: it cannot serve %s. Use "+
			"/v1/chat/completions, /v1/completions or /v1/responses.", s.cfg.ModelName, r.URL.Path),
	}
}

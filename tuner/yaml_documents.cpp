#include "tuner/yaml_documents.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>

namespace crossover {
namespace {

/// Keeps the place of a document's first node.
class FirstNode : public YAML::EventHandler {
  public:
    std::optional<YAML::Mark> mark;

    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark& at, YAML::anchor_t) override { keep(at); }
    void OnAlias(const YAML::Mark& at, YAML::anchor_t) override { keep(at); }
    void OnScalar(const YAML::Mark& at, const std::string&, YAML::anchor_t, const std::string&) override { keep(at); }
    void OnSequenceStart(const YAML::Mark& at, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
        keep(at);
    }
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark& at, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
        keep(at);
    }
    void OnMapEnd() override {}

  private:
    void keep(const YAML::Mark& at) {
        if (!mark) mark = at;
    }
};

} // namespace

std::optional<YAML::Mark> second_document(const std::string& text) {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    FirstNode first, second;
    if (parser.HandleNextDocument(first)) parser.HandleNextDocument(second);
    return second.mark;
}

} // namespace crossover

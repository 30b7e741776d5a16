#pragma once
/// The parts of a page that know nothing of tables and samples: head and style sheet, HTML tables, anchors.

#include <string>
#include <string_view>
#include <vector>

namespace crossover::html {

/// Content of an element: text, escaped on the way in, unless it is made by markup().
class Content {
  public:
    Content(std::string_view text);
    Content(const std::string& text) : Content(std::string_view(text)) {}
    Content(const char* text) : Content(std::string_view(text)) {}
    static Content markup(std::string well_formed);

    const std::string& str() const { return text_; }

  private:
    Content() = default;
    std::string text_;
};

/// <name>content</name>; `style` is a class.
std::string element(const std::string& name, const Content& content, std::string_view style = {});
/// A link to an id of this page.
Content link_to(std::string_view id, const Content& content);
/// "n=4 fp8" → "n-4-fp8", for ids.
std::string anchor(std::string_view name);

/// rows[0] is the head. Scrolls by itself where it is wide.
std::string table(const std::vector<std::vector<Content>>& rows);

/// The whole document. `styles` are rules beyond the page's own.
std::string page(std::string_view title, std::string_view styles, const std::string& body);

} // namespace crossover::html

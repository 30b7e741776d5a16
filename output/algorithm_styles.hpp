#pragma once
/// One colour and line for each algorithm, the same in every figure of a report.

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// Known algorithms have a style of their own among those of a pattern, and a colour, as what a table chooses is drawn
/// in nothing else; others share six styles of three colours, by their names' order.
///
/// The colours are those of Okabe and Ito (2008, "Color Universal Design"), told apart with any colour vision, adjusted
/// for light and dark paper. Challengers have thick solid lines, baselines thin or dashed ones, so that grey prints can
/// be read, too.
class AlgorithmStyles {
  public:
    explicit AlgorithmStyles(const std::set<std::string>& names);

    /// The CSS class, "a0", "a1", …; "none" for a name that is none of them (not_measured).
    std::string style(std::string_view name) const;
    /// Those of `names` in the order of every legend: oneshot, twoshot, the other known ones, the rest by name.
    std::vector<std::string> ordered(const std::set<std::string>& names) const;

    /// Rules for those classes, for light paper and dark.
    static std::string css();

  private:
    std::vector<std::string> names_; // in order
};

} // namespace crossover

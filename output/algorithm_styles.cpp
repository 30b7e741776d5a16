#include "output/algorithm_styles.hpp"

#include "tuner/workload.hpp"

#include <algorithm>
#include <array>

namespace crossover {
namespace {

struct Style {
    std::string_view light, dark; // colours
    std::string_view dashes;      // stroke-dasharray
    std::string_view width;       // px
};

constexpr std::array kKnown{algorithm::oneshot,
                            algorithm::twoshot,
                            algorithm::nccl_separate,
                            algorithm::nccl_fused_norm,
                            algorithm::nccl_symm_separate,
                            algorithm::nccl_symm_fused_norm,
                            algorithm::custom_fused_norm};

/// By class: those of kKnown, then six for the rest.
constexpr std::array kStyles{
    Style{"#d55e00", "#ff8a3d", "none", "2.4"}, Style{"#0072b2", "#4db2f0", "none", "2.4"},
    Style{"#767676", "#a6a6a6", "2 3", "1.8"},  Style{"#00805d", "#2fcb9b", "7 3", "1.8"},
    Style{"#b87f00", "#f2b84b", "2 3", "1.8"},  Style{"#b3548a", "#e6a0c8", "7 3 2 3", "1.8"},
    Style{"#222222", "#f0f0f0", "none", "1.4"}, Style{"#2f8fc4", "#8fd0f5", "5 2", "1.8"},
    Style{"#8c6d1f", "#c9a94a", "9 2", "1.8"},  Style{"#7a5195", "#b79ad0", "4 2 1 2", "1.8"},
    Style{"#2f8fc4", "#8fd0f5", "1 3", "1.8"},  Style{"#8c6d1f", "#c9a94a", "1 3", "1.8"},
    Style{"#7a5195", "#b79ad0", "1 3", "1.8"},
};
constexpr std::size_t kShared = kStyles.size() - kKnown.size();

} // namespace

AlgorithmStyles::AlgorithmStyles(const std::set<std::string>& names) : names_(kKnown.begin(), kKnown.end()) {
    for (const std::string& name : names)
        if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end()) names_.push_back(name);
}

std::string AlgorithmStyles::style(std::string_view name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) return "none";
    const auto index = static_cast<std::size_t>(found - names_.begin());
    return "a" + std::to_string(index < kKnown.size() ? index : kKnown.size() + (index - kKnown.size()) % kShared);
}

std::vector<std::string> AlgorithmStyles::ordered(const std::set<std::string>& names) const {
    std::vector<std::string> in_order;
    for (const std::string& name : names_)
        if (names.count(name) != 0) in_order.push_back(name);
    return in_order;
}

std::string AlgorithmStyles::css() {
    std::string light, dark;
    for (std::size_t i = 0; i < kStyles.size(); ++i) {
        const std::string name = ".a" + std::to_string(i);
        light.append(name).append("{color:").append(kStyles[i].light).append("}");
        light.append(name).append(".curve{stroke-width:").append(kStyles[i].width);
        light.append(";stroke-dasharray:").append(kStyles[i].dashes).append("}\n");
        dark.append(name).append("{color:").append(kStyles[i].dark).append("}");
    }
    return light + "@media screen and (prefers-color-scheme:dark){" + dark + "}\n";
}

} // namespace crossover

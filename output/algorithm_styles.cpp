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

struct KnownStyle {
    std::string_view name;
    Style style;
};

constexpr Style kFirst{"#d55e00", "#ff8a3d", "none", "2.4"};
constexpr Style kSecond{"#0072b2", "#4db2f0", "none", "2.4"};
constexpr Style kDotted{"#767676", "#a6a6a6", "2 3", "1.8"};
constexpr Style kDashed{"#00805d", "#2fcb9b", "7 3", "1.8"};

/// Those of MoE operations look like others that are in no figure with them.
constexpr std::array kKnown{
    KnownStyle{algorithm::oneshot, kFirst},
    KnownStyle{algorithm::twoshot, kSecond},
    KnownStyle{algorithm::nccl_separate, kDotted},
    KnownStyle{algorithm::nccl_fused_norm, kDashed},
    KnownStyle{algorithm::nccl_symm_separate, {"#b87f00", "#f2b84b", "2 3", "1.8"}},
    KnownStyle{algorithm::nccl_symm_fused_norm, {"#b3548a", "#e6a0c8", "7 3 2 3", "1.8"}},
    KnownStyle{algorithm::custom_fused_norm, {"#222222", "#f0f0f0", "none", "1.4"}},
    KnownStyle{algorithm::push, kFirst},
    KnownStyle{algorithm::quantize_nccl_allgather, kSecond},
    KnownStyle{algorithm::nccl_reduce_scatter, kSecond},
    KnownStyle{algorithm::nccl_allreduce_quantize, kDotted},
    KnownStyle{algorithm::nccl_allreduce_slice, kDotted},
    KnownStyle{algorithm::nccl_allgather_quantize, kDashed},
};

/// For the rest.
constexpr std::array kShared{
    Style{"#2f8fc4", "#8fd0f5", "5 2", "1.8"},     Style{"#8c6d1f", "#c9a94a", "9 2", "1.8"},
    Style{"#7a5195", "#b79ad0", "4 2 1 2", "1.8"}, Style{"#2f8fc4", "#8fd0f5", "1 3", "1.8"},
    Style{"#8c6d1f", "#c9a94a", "1 3", "1.8"},     Style{"#7a5195", "#b79ad0", "1 3", "1.8"},
};

/// By class: those of kKnown, then the shared ones.
const Style& style_at(std::size_t index) {
    return index < kKnown.size() ? kKnown[index].style : kShared[index - kKnown.size()];
}

} // namespace

AlgorithmStyles::AlgorithmStyles(const std::set<std::string>& names) {
    for (const KnownStyle& known : kKnown) names_.emplace_back(known.name);
    for (const std::string& name : names)
        if (std::ranges::find(kKnown, name, &KnownStyle::name) == kKnown.end()) names_.push_back(name);
}

std::string AlgorithmStyles::style(std::string_view name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) return "none";
    const auto index = static_cast<std::size_t>(found - names_.begin());
    return "a" +
           std::to_string(index < kKnown.size() ? index : kKnown.size() + (index - kKnown.size()) % kShared.size());
}

std::vector<std::string> AlgorithmStyles::ordered(const std::set<std::string>& names) const {
    std::vector<std::string> in_order;
    for (const std::string& name : names_)
        if (names.count(name) != 0) in_order.push_back(name);
    return in_order;
}

std::string AlgorithmStyles::css() {
    std::string light, dark;
    for (std::size_t i = 0; i < kKnown.size() + kShared.size(); ++i) {
        const Style& style = style_at(i);
        const std::string name = ".a" + std::to_string(i);
        light.append(name).append("{color:").append(style.light).append("}");
        light.append(name).append(".curve{stroke-width:").append(style.width);
        light.append(";stroke-dasharray:").append(style.dashes).append("}\n");
        dark.append(name).append("{color:").append(style.dark).append("}");
    }
    return light + "@media screen and (prefers-color-scheme:dark){" + dark + "}\n";
}

} // namespace crossover

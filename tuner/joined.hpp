#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <type_traits>

namespace crossover {

/// "2, 4, 8": the values in their order, or what `projection` makes of each, with `separator` between them.
template <class Values, class Projection = std::identity>
std::string joined(const Values& values, std::string_view separator, Projection projection = {}) {
    std::string text;
    for (const auto& value : values) {
        const auto& part = std::invoke(projection, value);
        text.append(text.empty() ? "" : separator);
        if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>)
            text.append(std::to_string(part));
        else
            text.append(part);
    }
    return text;
}

} // namespace crossover

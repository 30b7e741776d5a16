#pragma once

#include <algorithm>
#include <string>

namespace crossover {

/// Text from outside on one line: control characters become `instead`.
inline std::string one_line(std::string text, char instead = ' ') {
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; }, instead);
    return text;
}

} // namespace crossover

#include "tuner/cli/words.hpp"

#include <boost/algorithm/string.hpp>

#include <sstream>

namespace crossover {

double fraction_option(const std::string& option, const std::string& text) {
    const std::string remedy = "write a percentage like `2%` or a fraction like `0.02`";
    const auto fail = [&](const std::string& what) -> double {
        throw InputError(option, "`" + text + "` " + what, remedy);
    };
    std::string number = boost::trim_copy(text);
    const bool is_percent = !number.empty() && number.back() == '%';
    if (is_percent) {
        number.pop_back();
        boost::trim_right(number);
    }
    const bool plain = !number.empty() && number.find_first_not_of("0123456789.+-eE") == std::string::npos;
    double value = 0;
    std::size_t used = 0;
    try {
        if (plain) value = std::stod(number, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    if (!plain || used != number.size()) return fail("is not a number");
    if (value < 0) return fail("is negative");
    if (!is_percent && value >= 1) return fail("is a fraction of 100 % or more: a `%` seems to be missing");
    if (is_percent) value /= 100;
    if (value >= 1) return fail("is 100 % or more");
    return value;
}

std::vector<std::string> words_of(const std::vector<std::string>& arguments) {
    std::vector<std::string> words;
    for (const std::string& argument : arguments) {
        std::istringstream list(argument);
        for (std::string word; std::getline(list, word, ',');)
            if (!word.empty()) words.push_back(word);
    }
    return words;
}

std::vector<std::int64_t> sizes_of(const std::string& option, const std::vector<std::string>& arguments) {
    std::vector<std::int64_t> sizes;
    for (const std::string& word : words_of(arguments)) {
        std::size_t end = 0;
        std::int64_t size = 0;
        try {
            size = std::stoll(word, &end);
        } catch (const std::exception&) {
            end = 0;
        }
        if (end != word.size() || size < 1)
            throw InputError(option, "`" + word + "` is no size", "write whole numbers from 1");
        sizes.push_back(size);
    }
    return sizes;
}

} // namespace crossover

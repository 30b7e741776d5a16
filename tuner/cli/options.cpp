#include "tuner/cli/options.hpp"

#include "tuner/error.hpp"
#include "tuner/nearest.hpp"

#include <algorithm>
#include <iostream>

namespace crossover {

std::optional<po::variables_map> parse_options(const Usage& usage, const po::options_description& options,
                                               const std::vector<std::string>& arguments,
                                               const po::positional_options_description& positional) {
    const std::string command = "crossover " + usage.name;
    const std::string remedy = "see `" + command + " --help`";
    po::options_description all("Options");
    for (const auto& option : options.options()) all.add(option);
    all.add_options()("help,h", "print this and exit");
    try {
        po::command_line_parser parser(arguments);
        parser.options(all);
        if (positional.max_total_count() > 0) parser.positional(positional);
        const auto parsed = parser.run();
        po::variables_map values;
        po::store(parsed, values);
        if (values.count("help") != 0) {
            std::cout << "Usage: " << command << " [options]" << (usage.arguments.empty() ? "" : " " + usage.arguments)
                      << "\n\n"
                      << usage.purpose << "\n\n"
                      << all;
            return std::nullopt;
        }
        for (const auto& option : parsed.options) {
            if (option.string_key.empty())
                throw InputError(usage.name, "`" + option.value.front() + "` belongs to no option", remedy);
            if (std::find(option.value.begin(), option.value.end(), "") != option.value.end())
                throw InputError("--" + option.string_key, "is empty", "write a value behind it; " + remedy);
        }
        po::notify(values);
        return values;
    } catch (const po::unknown_option& error) {
        std::vector<std::string> names;
        for (const auto& option : all.options()) names.push_back("--" + option->long_name());
        throw InputError(usage.name, "unknown option `" + error.get_option_name() + "`",
                         did_you_mean(error.get_option_name(), names, remedy));
    } catch (const po::invalid_option_value& error) { // of the values that are no text: all of these are integers
        throw InputError(usage.name, error.what(), "write a whole number");
    } catch (const po::error& error) {
        throw InputError(usage.name, error.what(), remedy);
    }
}

} // namespace crossover

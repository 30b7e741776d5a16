#include "tuner/cli/options.hpp"

#include "tuner/error.hpp"
#include "tuner/nearest.hpp"

#include <iostream>

namespace crossover {

std::optional<po::variables_map> parse_options(const Usage& usage, const po::options_description& options,
                                               const std::vector<std::string>& arguments,
                                               const po::positional_options_description& positional) {
    const std::string command = "crossover " + usage.name;
    const std::string remedy = "see `" + command + " --help`";
    po::options_description all("Options");
    for (const auto& option : options.options()) all.add(option);
    all.add_options()("help", "print this and exit");
    try {
        po::variables_map values;
        po::store(po::command_line_parser(arguments).options(all).positional(positional).run(), values);
        if (values.count("help") != 0) {
            std::cout << "Usage: " << command << " [options]" << (usage.arguments.empty() ? "" : " " + usage.arguments)
                      << "\n\n"
                      << usage.purpose << "\n\n"
                      << all;
            return std::nullopt;
        }
        po::notify(values);
        return values;
    } catch (const po::unknown_option& error) {
        std::vector<std::string> names;
        for (const auto& option : all.options()) names.push_back("--" + option->long_name());
        const std::string_view near = nearest(error.get_option_name(), names);
        throw InputError(usage.name, "unknown option `" + error.get_option_name() + "`",
                         near.empty() ? remedy : "did you mean `" + std::string(near) + "`?");
    } catch (const po::error& error) {
        throw InputError(usage.name, error.what(), remedy);
    }
}

} // namespace crossover

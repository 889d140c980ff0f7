"""What all taps share: namespace, links, sysctls, iptables rules, routes, and their guard."""

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingRules} from "../src/libraries/ClearingRules.sol";
import {HeaderRules} from "../src/libraries/HeaderRules.sol";
import {Messages} from "../src/libraries/Messages.sol";

/// @dev Claims about the arithmetic of rationing and money for every input of the stated width, proven symbolically.
contract SymbolicTest {
    /// @dev Two shares next to each other are the share of both together: the parts telescope to the whole.
    function check_neighbouring_shares_add_up(uint64 prefix, uint64 one, uint64 other, uint64 give, uint64 total)
        external
        pure
    {
        uint256 both = ClearingRules.cumulativeShare(prefix, uint256(one) + other, give, total);
        uint256 first = ClearingRules.cumulativeShare(prefix, one, give, total);
        uint256 second = ClearingRules.cumulativeShare(uint256(prefix) + one, other, give, total);
        assert(first + second == both);
    }

    /// @dev All of the margin together is given exactly what there is.
    function check_the_whole_margin_gets_all(uint64 give, uint64 total) external pure {
        if (total == 0) return;
        assert(ClearingRules.cumulativeShare(0, total, give, total) == give);
    }

    /// @dev What one account pays for energy of its neighbour in the spot round the neighbour gets: nothing is lost.
    function check_a_spot_trade_between_neighbours_sums_to_nothing(int48 price, uint32 energyWh) external pure {
        Messages.Header memory header;
        header.spotPrice = price;
        Messages.MeterLeaf memory buyer;
        Messages.MeterLeaf memory seller;
        buyer.deviationWh = int64(uint64(energyWh));
        seller.deviationWh = -int64(uint64(energyWh));
        int256 paid = HeaderRules.settlementDelta(buyer, energyWh, header);
        int256 got = HeaderRules.settlementDelta(seller, energyWh, header);
        assert(paid + got == 0);
    }
}

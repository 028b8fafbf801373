// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyTrading} from "../src/EnergyTrading.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {Cast} from "./Cast.sol";

/// @dev Ada buys and Bo sells on chain; Ada has ordered once before.
abstract contract TradingCast is Cast {
    uint64 internal constant CLOSES_BEFORE_S = 300;
    uint64 internal constant DELAY_S = 60;
    uint64 internal constant ESCAPE_S = 7_200;
    uint32 internal constant FORCED = 1 << 31;
    uint256 internal constant ADAS = 1 << 32;
    int64 internal constant SHORTFALL = 400_000;
    uint256 internal constant ESCROW = 5e16;

    EnergyTrading internal trading;
    uint256 internal first;

    function setUp() public virtual override {
        super.setUp();
        open(0, 0);
        first = buy(1, 100);
        VM.warp(block.timestamp + 900);
    }

    /// @dev A trading contract in which both have escrow for several of the dearest orders, from the test's money.
    function open(uint32 capacity, uint32 leakS) internal {
        trading = new EnergyTrading(settlement, CLOSES_BEFORE_S, DELAY_S, ESCAPE_S, capacity, leakS, SHORTFALL);
        token.mint(address(this), 2 * ESCROW);
        token.approve(address(trading), type(uint256).max);
        trading.fund(1, ESCROW);
        trading.fund(2, ESCROW);
    }

    function order(address trader, uint256 amount, uint256 price, IEnergyTrading.OrderType side)
        internal
        returns (uint256)
    {
        VM.prank(trader);
        return trading.createOrder(amount, price, block.timestamp + 1 days, side);
    }

    function buy(uint256 amount, uint256 price) internal returns (uint256) {
        return order(ADA, amount, price, IEnergyTrading.OrderType.BUY);
    }

    function sell(uint256 amount, uint256 price) internal returns (uint256) {
        return order(BO, amount, price, IEnergyTrading.OrderType.SELL);
    }

    function waitForEscape() internal {
        VM.warp(block.timestamp + ESCAPE_S);
    }

    function closedAt(uint256 id) internal view returns (uint64) {
        return trading.closedAt(uint32(id >> 32), FORCED | uint32(id));
    }
}

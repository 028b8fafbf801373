// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyTrading} from "../src/EnergyTrading.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";

contract EnergyTradingTest is Cast {
    uint64 internal constant CLOSES_BEFORE_S = 300;
    uint64 internal constant ROUND_EVERY_S = 60;
    uint64 internal constant ESCAPE_S = 7_200;

    EnergyTrading internal trading;

    function setUp() public override {
        super.setUp();
        trading = new EnergyTrading(settlement, CLOSES_BEFORE_S, ROUND_EVERY_S, ESCAPE_S);
        VM.prank(ADA);
        token.approve(address(trading), type(uint256).max);
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

    function test_an_order_forces_a_bid_into_the_first_open_quarter_hour() public {
        VM.warp(uint256(FIRST) * 900 + 539);
        uint256 id = buy(1_500, 200_000);
        assertEq(id, 1);
        assertEq(trading.intervalOf(id), FIRST + 1);
        Messages.Bid memory bid = Messages.Bid(
            1, uint64(FIRST + 1) * 1024 + 1, (1 << 31) | 1, 0, 1_500, 200_000, uint64(block.timestamp + 1 days)
        );
        assertEq(trading.forcedBidHash(id), Messages.hashStruct(bid));
        assertEq(trading.forcedBidHash(2), bytes32(0));
        IEnergyTrading.Order memory placed = trading.getOrder(id);
        assertEq(placed.trader, ADA);
        assertEq(placed.amount, 1_500);
        assertTrue(placed.status == IEnergyTrading.OrderStatus.ACTIVE);
        // One second later, 541 + 60 + 300 is beyond the start of that quarter-hour.
        VM.warp(uint256(FIRST) * 900 + 541);
        assertEq(trading.intervalOf(sell(1, 100)), FIRST + 2);
    }

    function testFuzz_the_gate_is_at_least_one_round_and_less_than_an_interval_more_away(uint32 later) public {
        VM.warp(uint256(FIRST) * 900 + later);
        uint256 gateS = uint256(trading.nextInterval()) * 900 - CLOSES_BEFORE_S;
        assertTrue(gateS >= block.timestamp + ROUND_EVERY_S);
        assertTrue(gateS < block.timestamp + ROUND_EVERY_S + 900);
    }

    function test_what_no_bid_may_carry_is_refused() public {
        uint256 expiry = block.timestamp + 1 days;
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.WrongAmount.selector, 0));
        trading.createOrder(0, 100, expiry, IEnergyTrading.OrderType.BUY);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.WrongAmount.selector, 1_000_000_001));
        trading.createOrder(1_000_000_001, 100, expiry, IEnergyTrading.OrderType.BUY);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.WrongPrice.selector, 101));
        trading.createOrder(1, 101, expiry, IEnergyTrading.OrderType.BUY);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.WrongPrice.selector, 10_000_100));
        trading.createOrder(1, 10_000_100, expiry, IEnergyTrading.OrderType.BUY);
        VM.expectPartialRevert(EnergyTrading.ExpiresBeforeGate.selector);
        trading.createOrder(1, 100, block.timestamp, IEnergyTrading.OrderType.BUY);
        VM.expectPartialRevert(EnergyTrading.ExpiresBeforeGate.selector);
        trading.createOrder(1, 100, 1 << 63, IEnergyTrading.OrderType.BUY);
        VM.stopPrank();
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownOwner.selector, address(this)));
        trading.createOrder(1, 100, expiry, IEnergyTrading.OrderType.BUY);
        VM.prank(GOVERNANCE);
        VM.expectRevert(EnergyTrading.NotAuthorised.selector);
        trading.createOrder(1, 100, expiry, IEnergyTrading.OrderType.BUY);
    }

    function test_only_its_trader_cancels_an_order_and_only_once() public {
        uint256 id = buy(1, 100);
        VM.prank(BO);
        VM.expectRevert(EnergyTrading.NotAuthorised.selector);
        trading.cancelOrder(id);
        VM.startPrank(ADA);
        trading.cancelOrder(id);
        assertEq(trading.cancelledAt(id), block.timestamp);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotActive.selector, id));
        trading.cancelOrder(id);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 0));
        trading.cancelOrder(0);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 9));
        trading.getOrder(9);
    }

    function test_while_headers_arrive_nothing_is_matched_here() public {
        (uint256 b, uint256 s) = (buy(1, 100), sell(1, 100));
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.OperatorIsAlive.selector, settlement.lastPostedAt()));
        trading.matchOrders(b, s);
    }

    function test_without_headers_orders_are_matched_and_paid_after_delivery() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(1_000, 300_000), sell(400, 100_000));
        uint256 had = token.balanceOf(ADA);
        VM.prank(address(0xBEEF));
        trading.matchOrders(b, s);
        // 400 Wh at the middle, 200,000 micro/kWh = nano/Wh.
        assertEq(had - token.balanceOf(ADA), 400 * 200_000);
        assertEq(token.balanceOf(address(trading)), 400 * 200_000);
        assertTrue(trading.getOrder(s).status == IEnergyTrading.OrderStatus.FILLED);
        assertTrue(trading.getOrder(b).status == IEnergyTrading.OrderStatus.ACTIVE);
        assertEq(trading.getOrder(b).amount, 600);

        uint256 endsAtS = uint256(trading.intervalOf(s) + 1) * 900;
        VM.warp(endsAtS - 1);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.TooEarly.selector, endsAtS));
        trading.settleTransaction(1);
        VM.warp(endsAtS);
        had = token.balanceOf(BO);
        trading.settleTransaction(1);
        assertEq(token.balanceOf(BO) - had, 400 * 200_000);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.AlreadySettled.selector, 1));
        trading.settleTransaction(1);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 2));
        trading.settleTransaction(2);
    }

    function test_orders_that_do_not_cross_are_not_matched() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(10, 200_000), sell(10, 200_100));
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, s);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(s, b);
        uint256 own = order(ADA, 10, 100, IEnergyTrading.OrderType.SELL);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, own);
        VM.warp(block.timestamp + 900);
        uint256 later = sell(10, 100);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, later);
    }

    function test_cancelled_and_late_orders_are_not_matched() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(10, 200_000), sell(10, 100));
        VM.prank(BO);
        trading.cancelOrder(s);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotActive.selector, s));
        trading.matchOrders(b, s);
        s = sell(10, 100);
        VM.warp(uint256(trading.intervalOf(s)) * 900);
        VM.expectRevert(EnergyTrading.TooLate.selector);
        trading.matchOrders(b, s);
    }

    function test_a_buyer_without_allowance_is_not_matched() public {
        waitForEscape();
        (uint256 b, uint256 s) =
            (order(BO, 10, 100, IEnergyTrading.OrderType.BUY), order(ADA, 10, 100, IEnergyTrading.OrderType.SELL));
        VM.expectRevert();
        trading.matchOrders(b, s);
        assertTrue(trading.getOrder(b).status == IEnergyTrading.OrderStatus.ACTIVE);
    }

    function test_a_posted_header_closes_the_way_out() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(10, 100), sell(10, 100));
        post(nextHeader(emptyRoot()));
        VM.expectPartialRevert(EnergyTrading.OperatorIsAlive.selector);
        trading.matchOrders(b, s);
    }

    function test_the_waiting_time_covers_the_trading_of_a_quarter_hour() public {
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.EscapeTooEarly.selector, 3_599));
        new EnergyTrading(settlement, CLOSES_BEFORE_S, ROUND_EVERY_S, 3_599);
    }

    function testFuzz_what_buyers_pay_is_what_sellers_get(uint32 amount, uint16 bought, uint16 sold) public {
        VM.assume(amount > 0 && amount <= 1_000_000_000 && bought >= sold);
        waitForEscape();
        token.mint(ADA, 1e18);
        (uint256 b, uint256 s) = (buy(amount, uint256(bought) * 100), sell(amount, uint256(sold) * 100));
        uint256 had = token.balanceOf(BO);
        trading.matchOrders(b, s);
        EnergyTrading.Trade memory trade = trading.getTrade(1);
        assertTrue(trade.price <= uint256(bought) * 100 && trade.price >= uint256(sold) * 100);
        VM.warp(uint256(trading.intervalOf(s) + 1) * 900);
        trading.settleTransaction(1);
        assertEq(token.balanceOf(BO) - had, trade.cost);
        assertEq(token.balanceOf(address(trading)), 0);
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyTrading} from "../src/EnergyTrading.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {LeakyBucket} from "../src/libraries/LeakyBucket.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Escrow} from "../src/trading/Escrow.sol";
import {TradingCast} from "./TradingCast.sol";
import {VmMore} from "./VmMore.sol";

contract EnergyTradingTest is TradingCast {
    function test_an_order_forces_a_bid_into_the_first_open_quarter_hour() public {
        VM.warp(uint256(FIRST + 1) * 900 + 540);
        uint256 id = buy(1_500, 200_000);
        assertEq(id, ADAS | 2);
        assertEq(trading.intervalOf(id), FIRST + 2);
        uint64 expiry = uint64(block.timestamp + 1 days);
        Messages.Bid memory bid = Messages.Bid(1, uint64(FIRST + 2) * 1024 + 1, FORCED | 2, 0, 1_500, 200_000, expiry);
        assertEq(trading.forcedBidHash(1, FORCED | 2), Messages.hashStruct(bid));
        IEnergyTrading.Order memory placed = trading.getOrder(id);
        assertEq(placed.trader, ADA);
        assertEq(placed.amount, 1_500);
        assertEq(placed.price, 200_000);
        assertEq(placed.expiry, expiry);
        assertTrue(placed.orderType == IEnergyTrading.OrderType.BUY);
        assertTrue(placed.status == IEnergyTrading.OrderStatus.ACTIVE);
        // One second later, 541 + 60 + 300 is beyond the start of that quarter-hour.
        VM.warp(block.timestamp + 1);
        assertEq(trading.intervalOf(sell(1, 100)), FIRST + 3);
    }

    function test_what_is_on_no_record_has_no_hash() public view {
        assertEq(trading.forcedBidHash(1, FORCED | 2), bytes32(0));
        assertEq(trading.forcedBidHash(2, FORCED | 1), bytes32(0));
        // A signed bid of the same number is another one.
        assertEq(trading.forcedBidHash(1, 1), bytes32(0));
        assertTrue(trading.forcedBidHash(1, FORCED | 1) != bytes32(0));
        assertEq(trading.closedAt(1, FORCED | 2), 0);
        assertEq(trading.closedAt(1, 1), 0);
    }

    function testFuzz_the_gate_is_at_least_one_delay_and_less_than_an_interval_more_away(uint32 later) public {
        VM.warp(uint256(FIRST) * 900 + later);
        uint256 gateS = uint256(trading.nextInterval()) * 900 - CLOSES_BEFORE_S;
        assertTrue(gateS >= block.timestamp + DELAY_S);
        assertTrue(gateS < block.timestamp + DELAY_S + 900);
    }

    function test_what_no_bid_may_carry_is_refused() public {
        uint256 expiry = block.timestamp + 1 days;
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(Escrow.WrongAmount.selector, 0));
        trading.createOrder(0, 100, expiry, IEnergyTrading.OrderType.BUY);
        VM.expectRevert(abi.encodeWithSelector(Escrow.WrongAmount.selector, 1_000_000_001));
        trading.createOrder(1_000_000_001, 100, expiry, IEnergyTrading.OrderType.BUY);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.WrongPrice.selector, 101));
        trading.createOrder(1, 101, expiry, IEnergyTrading.OrderType.BUY);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.WrongPrice.selector, 10_000_100));
        trading.createOrder(1, 10_000_100, expiry, IEnergyTrading.OrderType.BUY);
        uint256 gateS = uint256(trading.nextInterval()) * 900 - CLOSES_BEFORE_S;
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.ExpiresBeforeGate.selector, gateS));
        trading.createOrder(1, 100, gateS - 1, IEnergyTrading.OrderType.BUY);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.ExpiresBeforeGate.selector, gateS));
        trading.createOrder(1, 100, 1 << 63, IEnergyTrading.OrderType.BUY);
        trading.createOrder(1_000_000_000, 10_000_000, (1 << 63) - 1, IEnergyTrading.OrderType.BUY);
        trading.createOrder(1, 0, gateS, IEnergyTrading.OrderType.SELL);
        VM.stopPrank();
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownOwner.selector, address(this)));
        trading.createOrder(1, 100, expiry, IEnergyTrading.OrderType.BUY);
        VM.prank(GOVERNANCE);
        VM.expectRevert(EnergyTrading.NotAuthorised.selector);
        trading.createOrder(1, 100, expiry, IEnergyTrading.OrderType.BUY);
    }

    function test_ten_orders_in_one_go_and_then_one_every_ninety_seconds() public {
        for (uint256 i = 0; i < 10; i++) {
            buy(1, 100);
        }
        VM.expectRevert(abi.encodeWithSelector(LeakyBucket.RateLimited.selector, block.timestamp + 90));
        VM.prank(ADA);
        trading.createOrder(1, 100, block.timestamp + 1 days, IEnergyTrading.OrderType.BUY);
        sell(1, 100); // another account's bucket
        VM.warp(block.timestamp + 90);
        buy(1, 100);
        VM.expectPartialRevert(LeakyBucket.RateLimited.selector);
        VM.prank(ADA);
        trading.createOrder(1, 100, block.timestamp + 1 days, IEnergyTrading.OrderType.BUY);
    }

    function testFuzz_no_more_orders_than_the_bucket_holds_and_leaks(
        uint8 capacity,
        uint8 leak,
        uint16[16] memory waits
    ) public {
        VM.assume(capacity != 0 && leak != 0);
        open(capacity, leak);
        uint256 fromS = VmMore(address(VM)).getBlockTimestamp();
        uint256 taken;
        for (uint256 i = 0; i < 16; i++) {
            VM.warp(block.timestamp + waits[i] % 512);
            VM.prank(ADA);
            try trading.createOrder(1, 100, block.timestamp + 1 days, IEnergyTrading.OrderType.BUY) {
                taken++;
            } catch {}
            assertTrue(taken <= capacity + (VmMore(address(VM)).getBlockTimestamp() - fromS) / leak);
        }
        assertTrue(taken >= (capacity < 16 ? capacity : 16));
    }

    function test_an_account_that_has_used_up_its_numbers_gets_no_more() public {
        VmMore storageOf = VmMore(address(VM));
        bytes32 slot = keccak256(abi.encode(ADA, uint256(0)));
        uint256 word = uint256(storageOf.load(address(trading), slot));
        assertEq(uint32(word), 1);
        assertEq(uint32(word >> 32), 1);
        uint256 last = (1 << 31) - 1;
        storageOf.store(address(trading), slot, bytes32((word ^ (1 << 32)) | ((last - 1) << 32)));
        assertEq(buy(1, 100), ADAS | last);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, ADAS | (last + 1)));
        VM.prank(ADA);
        trading.createOrder(1, 100, block.timestamp + 1 days, IEnergyTrading.OrderType.BUY);
    }

    function test_only_its_trader_cancels_an_order_and_only_once() public {
        uint256 id = buy(1, 100);
        VM.prank(BO);
        VM.expectRevert(EnergyTrading.NotAuthorised.selector);
        trading.cancelOrder(id);
        assertEq(closedAt(id), 0);
        bytes32 hash = trading.forcedBidHash(1, FORCED | uint32(id));
        VM.startPrank(ADA);
        trading.cancelOrder(id);
        assertEq(closedAt(id), block.timestamp);
        assertTrue(trading.getOrder(id).status == IEnergyTrading.OrderStatus.CANCELLED);
        // What was on record stays on record: auctions before the cancellation hold it.
        assertEq(trading.forcedBidHash(1, FORCED | uint32(id)), hash);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotActive.selector, id));
        trading.cancelOrder(id);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 0));
        trading.cancelOrder(0);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 9));
        trading.getOrder(9);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, id + 1));
        trading.intervalOf(id + 1);
    }

    function test_while_headers_arrive_nothing_is_matched_here() public {
        VM.warp(settlement.lastPostedAt() + ESCAPE_S - 1);
        (uint256 b, uint256 s) = (buy(1, 100), sell(1, 100));
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.OperatorIsAlive.selector, settlement.lastPostedAt()));
        trading.matchOrders(b, s);
        VM.warp(block.timestamp + 1);
        trading.matchOrders(b, s);
    }

    function test_without_headers_orders_are_matched_and_paid_after_delivery() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(1_000, 300_000), sell(400, 100_000));
        uint256 free = trading.freeNano(1);
        VM.prank(address(0xBEEF));
        trading.matchOrders(b, s);
        // 400 Wh at the middle, 200,000 micro/kWh = nano/Wh.
        assertEq(trading.getTrade(1).cost, 400 * 200_000);
        assertEq(trading.freeNano(1) - free, 400 * 100_000);
        assertEq(trading.lockedNano(b), 600 * 300_000);
        assertTrue(trading.getOrder(s).status == IEnergyTrading.OrderStatus.FILLED);
        assertTrue(trading.getOrder(b).status == IEnergyTrading.OrderStatus.ACTIVE);
        assertEq(trading.getOrder(b).amount, 600);

        uint256 endsAtS = uint256(trading.intervalOf(s) + 1) * 900;
        VM.warp(endsAtS - 1);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.TooEarly.selector, endsAtS));
        trading.settleTransaction(1);
        VM.warp(endsAtS);
        uint256 had = token.balanceOf(BO);
        trading.settleTransaction(1);
        assertEq(token.balanceOf(BO) - had, 400 * 200_000);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.AlreadySettled.selector, 1));
        trading.settleTransaction(1);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 2));
        trading.settleTransaction(2);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 0));
        trading.getTrade(0);
    }

    function test_what_is_matched_is_closed_to_the_auctions_from_the_first_match_on() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(1_000, 300_000), sell(400, 100_000));
        bytes32 hash = trading.forcedBidHash(1, FORCED | uint32(b));
        trading.matchOrders(b, s);
        uint256 atS = VmMore(address(VM)).getBlockTimestamp();
        assertEq(closedAt(b), atS);
        assertEq(closedAt(s), atS);
        VM.warp(atS + 10);
        trading.matchOrders(b, sell(100, 0));
        assertEq(trading.getOrder(b).amount, 500);
        VM.prank(ADA);
        trading.cancelOrder(b);
        assertEq(closedAt(b), atS);
        // The bid on record is the whole order, whatever became of it.
        assertEq(trading.forcedBidHash(1, FORCED | uint32(b)), hash);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotActive.selector, b));
        trading.matchOrders(b, s);
    }

    function test_the_way_out_is_open_while_the_settlement_is_halted() public {
        VM.prank(GOVERNANCE);
        settlement.halt();
        waitForEscape();
        (uint256 b, uint256 s) = (buy(5, 100), sell(5, 100));
        trading.matchOrders(b, s);
        VM.warp(uint256(trading.intervalOf(s) + 1) * 900);
        uint256 had = token.balanceOf(BO);
        trading.settleTransaction(1);
        assertEq(token.balanceOf(BO) - had, 5 * 100);
    }

    function test_orders_that_do_not_cross_are_not_matched() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(10, 200_000), sell(10, 200_100));
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, s);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(s, b);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, b);
        uint256 own = order(ADA, 10, 100, IEnergyTrading.OrderType.SELL);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, own);
        VM.warp(block.timestamp + 900);
        uint256 later = sell(10, 100);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, later);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, 7));
        trading.matchOrders(b, 7);
    }

    function test_an_expired_order_is_not_matched() public {
        waitForEscape();
        uint256 gateS = uint256(trading.nextInterval()) * 900 - CLOSES_BEFORE_S;
        VM.prank(ADA);
        uint256 b = trading.createOrder(1, 100, gateS, IEnergyTrading.OrderType.BUY);
        VM.prank(BO);
        uint256 s = trading.createOrder(1, 100, gateS + 1, IEnergyTrading.OrderType.SELL);
        uint256 other = order(ADA, 1, 100, IEnergyTrading.OrderType.BUY);
        VM.warp(gateS + 1);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, s);
        trading.matchOrders(other, s);
        VM.warp(gateS + 2);
        uint256 more = buy(1, 100);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotActive.selector, s));
        trading.matchOrders(more, s);
    }

    function test_an_order_whose_seller_expired_is_not_matched() public {
        waitForEscape();
        uint256 gateS = uint256(trading.nextInterval()) * 900 - CLOSES_BEFORE_S;
        VM.prank(BO);
        uint256 s = trading.createOrder(1, 100, gateS, IEnergyTrading.OrderType.SELL);
        uint256 b = buy(1, 100);
        VM.warp(gateS + 1);
        VM.expectRevert(EnergyTrading.NoMatch.selector);
        trading.matchOrders(b, s);
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

    function test_a_posted_header_closes_the_way_out() public {
        waitForEscape();
        (uint256 b, uint256 s) = (buy(10, 100), sell(10, 100));
        post(nextHeader(emptyRoot()));
        VM.expectPartialRevert(EnergyTrading.OperatorIsAlive.selector);
        trading.matchOrders(b, s);
    }

    function test_the_waiting_time_covers_the_trading_of_a_quarter_hour() public {
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.EscapeTooEarly.selector, 3_599));
        new EnergyTrading(settlement, CLOSES_BEFORE_S, DELAY_S, 3_599, 0, 0, SHORTFALL);
        EnergyTrading other = new EnergyTrading(settlement, CLOSES_BEFORE_S, DELAY_S, 3_600, 3, 7, SHORTFALL);
        assertEq(other.capacity(), 3);
        assertEq(other.leakS(), 7);
        assertEq(other.inclusionDelayS(), DELAY_S);
        assertEq(address(other.settlement()), address(settlement));
    }

    function testFuzz_what_buyers_pay_is_what_sellers_get(uint32 amount, uint16 bought, uint16 sold) public {
        VM.assume(amount > 0 && amount <= 1_000_000_000 && bought >= sold);
        waitForEscape();
        (uint256 b, uint256 s) = (buy(amount, uint256(bought) * 100), sell(amount, uint256(sold) * 100));
        uint256 had = token.balanceOf(BO);
        trading.matchOrders(b, s);
        EnergyTrading.Trade memory trade = trading.getTrade(1);
        assertEq(trade.buyOrderId, b);
        assertEq(trade.sellOrderId, s);
        assertTrue(trade.price <= uint256(bought) * 100 && trade.price >= uint256(sold) * 100);
        VM.warp(uint256(trading.intervalOf(s) + 1) * 900);
        trading.settleTransaction(1);
        assertEq(token.balanceOf(BO) - had, trade.cost);
        // The orders are taken in full, so all that is left is free: what the match was cheaper, and the seller's lock.
        assertEq(trading.lockedNano(b) + trading.lockedNano(s), 0);
        assertEq(trading.freeNano(1), ESCROW - 100 - trade.cost);
        assertEq(trading.freeNano(2), ESCROW);
    }
}

/// @dev In the steady state: the owner has ordered before, every slot that is read is cold. The escrow pays for the
/// dearest order of each side.
contract EnergyTradingGasTest is TradingCast {
    function test_a_buy_order_costs_at_most_sixty_thousand_gas() public {
        costs(9_999_900, IEnergyTrading.OrderType.BUY);
    }

    function test_a_sell_order_costs_at_most_sixty_thousand_gas() public {
        costs(65_500, IEnergyTrading.OrderType.SELL);
    }

    function costs(uint256 price, IEnergyTrading.OrderType side) private {
        uint256 free = trading.freeNano(1);
        bytes memory input = abi.encodeCall(trading.createOrder, (999_999_999, price, block.timestamp + 300 days, side));
        VM.prank(ADA);
        (bool done,) = address(trading).call(input);
        uint256 gas = transactionGas(input);
        assertTrue(done && trading.freeNano(1) < free);
        assertTrue(gas <= 60_000);
    }
}

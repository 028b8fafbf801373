// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyTrading} from "../src/EnergyTrading.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Escrow} from "../src/trading/Escrow.sol";
import {TradingCast} from "./TradingCast.sol";
import {VmMore} from "./VmMore.sol";

contract EscrowTest is TradingCast {
    function setUp() public override {
        super.setUp();
        VM.prank(GOVERNANCE);
        settlement.setTrading(address(trading));
        VM.prank(ADA);
        trading.withdrawFree(ESCROW - 100);
    }

    /// @dev Posts empty headers until that interval's is final, and no later one.
    function finaliseUntil(uint64 interval) private {
        ISettlement.HeaderProof memory last;
        do {
            last = post(nextHeader(emptyRoot()));
        } while (last.header.interval < interval);
        VM.warp(VmMore(address(VM)).getBlockTimestamp() + WINDOW_S);
        settlement.finalise(last);
    }

    function notCovered(uint256 missing) private pure returns (bytes memory) {
        return abi.encodeWithSelector(Escrow.NotCovered.selector, missing);
    }

    function refusesOrder(address trader, uint256 amount, uint256 price, IEnergyTrading.OrderType side, uint256 missing)
        private
    {
        VM.expectRevert(notCovered(missing));
        VM.prank(trader);
        trading.createOrder(amount, price, block.timestamp + 1 days, side);
    }

    // In and out of the free escrow.

    function test_anybody_funds_an_account_and_only_its_owner_takes_it_back() public {
        assertEq(trading.freeNano(1), 0);
        uint256 had = token.balanceOf(address(this));
        trading.fund(1, 700);
        assertEq(had - token.balanceOf(address(this)), 700);
        assertEq(trading.freeNano(1), 700);
        VM.prank(BO);
        trading.withdrawFree(ESCROW);
        VM.expectRevert(notCovered(1));
        VM.prank(BO);
        trading.withdrawFree(1);
        VM.expectRevert(notCovered(1));
        VM.prank(ADA);
        trading.withdrawFree(701);
        had = token.balanceOf(ADA);
        VM.prank(ADA);
        trading.withdrawFree(699);
        assertEq(token.balanceOf(ADA) - had, 699);
        assertEq(trading.freeNano(1), 1);
    }

    function test_nothing_and_too_much_are_no_escrow() public {
        VM.expectRevert(abi.encodeWithSelector(Escrow.WrongAmount.selector, 0));
        trading.fund(1, 0);
        VM.expectRevert(abi.encodeWithSelector(Escrow.WrongAmount.selector, 0));
        trading.withdrawFree(0);
        trading.fund(1, 7);
        uint256 most = uint256(type(uint64).max) - 7;
        VM.expectRevert(abi.encodeWithSelector(Escrow.WrongAmount.selector, most + 1));
        trading.fund(1, most + 1);
        VM.expectRevert(abi.encodeWithSelector(Escrow.WrongAmount.selector, type(uint256).max));
        trading.fund(1, type(uint256).max);
        token.mint(address(this), most);
        trading.fund(1, most);
        assertEq(trading.freeNano(1), type(uint64).max);
    }

    function test_the_supplier_and_strangers_have_no_escrow() public {
        VM.expectRevert(abi.encodeWithSelector(Escrow.UnknownAccount.selector, 0));
        trading.fund(0, 1);
        VM.expectRevert(abi.encodeWithSelector(Escrow.UnknownAccount.selector, 3));
        trading.fund(3, 1);
        assertEq(trading.freeNano(0), 0);
        assertEq(trading.freeNano(3), 0);
    }

    function test_who_does_not_pay_has_no_escrow() public {
        token.approve(address(trading), 99);
        VM.expectRevert();
        trading.fund(1, 100);
        assertEq(trading.freeNano(1), 0);
    }

    function test_the_shortfall_price_is_an_import_tariff() public {
        int64[2] memory wrong = [IMPORT - 1, int64(10_000_001)];
        for (uint256 i = 0; i < 2; i++) {
            VM.expectRevert(abi.encodeWithSelector(Escrow.WrongShortfallPrice.selector, wrong[i]));
            new EnergyTrading(settlement, CLOSES_BEFORE_S, DELAY_S, ESCAPE_S, 0, 0, wrong[i]);
        }
        int64[2] memory right = [IMPORT, int64(10_000_000)];
        for (uint256 i = 0; i < 2; i++) {
            EnergyTrading other = new EnergyTrading(settlement, CLOSES_BEFORE_S, DELAY_S, ESCAPE_S, 0, 0, right[i]);
            assertTrue(other.shortfallPrice() == right[i]);
        }
    }

    // What an order locks.

    function test_a_buy_order_locks_its_limit_price_and_not_a_nano_less() public {
        trading.fund(1, 500 * 300_000 - 1);
        refusesOrder(ADA, 500, 300_000, IEnergyTrading.OrderType.BUY, 1);
        trading.fund(1, 2);
        uint256 id = buy(500, 300_000);
        assertEq(trading.lockedNano(id), 500 * 300_000);
        assertEq(trading.freeNano(1), 1);
        refusesOrder(ADA, 1, 100, IEnergyTrading.OrderType.BUY, 99);
    }

    function test_a_sell_order_locks_what_a_shortfall_costs_beyond_its_price() public {
        refusesOrder(ADA, 10, 399_900, IEnergyTrading.OrderType.SELL, 1_000);
        // Whoever asks at least the dearest import owes nothing for what he does not deliver.
        uint256 dear = order(ADA, 10, 400_000, IEnergyTrading.OrderType.SELL);
        uint256 dearer = order(ADA, 10, 400_100, IEnergyTrading.OrderType.SELL);
        assertEq(trading.lockedNano(dear) + trading.lockedNano(dearer), 0);
        uint256 cheap = sell(10, 0);
        assertEq(trading.lockedNano(cheap), 10 * 400_000);
        assertEq(trading.freeNano(2), ESCROW - 10 * 400_000);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, cheap + 1));
        trading.lockedNano(cheap + 1);
    }

    function testFuzz_an_order_locks_its_worst_cost(uint32 amount, uint24 ticks, bool sells, uint24 above) public {
        uint256 quantity = uint256(amount) % 1_000_000_000 + 1;
        uint256 price = (uint256(ticks) % 100_001) * 100;
        int64 shortfall = IMPORT + int64(uint64(above % 9_700_001));
        token.mint(address(this), ESCROW);
        trading = new EnergyTrading(settlement, CLOSES_BEFORE_S, DELAY_S, ESCAPE_S, 0, 0, shortfall);
        token.approve(address(trading), ESCROW);
        trading.fund(2, ESCROW);
        uint256 id = order(BO, quantity, price, IEnergyTrading.OrderType(sells ? 1 : 0));
        uint256 top = uint64(shortfall);
        uint256 worst = !sells ? price : top > price ? top - price : 0;
        assertEq(trading.lockedNano(id), worst * quantity);
        assertEq(trading.freeNano(2) + trading.lockedNano(id), ESCROW);
        assertEq(token.balanceOf(address(trading)), ESCROW);
    }

    // The way back, by way of a deposit.

    function test_escrow_becomes_a_deposit_once_its_quarter_hour_is_settled_in_a_final_header() public {
        uint256 id = sell(10, 0);
        uint64 interval = trading.intervalOf(id);
        uint256 endsAtS = uint256(interval + 1) * 900;
        VM.warp(endsAtS - 1);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.TooEarly.selector, endsAtS));
        trading.returnEscrow(id);
        VM.warp(endsAtS);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotSettled.selector, interval));
        trading.returnEscrow(id);
        finaliseUntil(interval + GRACE - 1);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotSettled.selector, interval));
        trading.returnEscrow(id);
        // A header that is posted and not final settles nothing.
        post(nextHeader(emptyRoot()));
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NotSettled.selector, interval));
        trading.returnEscrow(id);
        finaliseUntil(interval + GRACE + 1);
        uint256 held = token.balanceOf(address(trading));
        VM.prank(address(0xBEEF));
        trading.returnEscrow(id);
        assertEq(settlement.depositedNano(2), 10 * 400_000);
        assertEq(held - token.balanceOf(address(trading)), 10 * 400_000);
        assertEq(trading.lockedNano(id), 0);
        assertEq(token.allowance(address(trading), address(settlement)), 0);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NothingLocked.selector, id));
        trading.returnEscrow(id);
    }

    function test_a_cancelled_order_is_locked_as_long_as_an_open_one() public {
        uint256 id = sell(10, 100_000);
        VM.prank(BO);
        trading.cancelOrder(id);
        assertEq(trading.lockedNano(id), 10 * 300_000);
        assertEq(trading.freeNano(2), ESCROW - 10 * 300_000);
        VM.warp(uint256(trading.intervalOf(id) + 1) * 900);
        VM.expectPartialRevert(EnergyTrading.NotSettled.selector);
        trading.returnEscrow(id);
        finaliseUntil(trading.intervalOf(id) + GRACE);
        trading.returnEscrow(id);
        assertEq(settlement.depositedNano(2), 10 * 300_000);
    }

    function test_a_cancellation_after_the_return_returns_nothing_more() public {
        uint256 id = sell(10, 100_000);
        finaliseUntil(trading.intervalOf(id) + GRACE);
        trading.returnEscrow(id);
        assertEq(closedAt(id), 0);
        VM.prank(BO);
        trading.cancelOrder(id);
        assertEq(trading.lockedNano(id), 0);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NothingLocked.selector, id));
        trading.returnEscrow(id);
    }

    function test_what_never_locked_anything_has_nothing_to_return() public {
        uint256 id = sell(10, 400_000);
        finaliseUntil(trading.intervalOf(id) + GRACE);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NothingLocked.selector, id));
        trading.returnEscrow(id);
        VM.expectRevert(abi.encodeWithSelector(EnergyTrading.UnknownNumber.selector, id + 1));
        trading.returnEscrow(id + 1);
    }

    function test_before_any_header_is_final_only_the_release_of_reserves_returns_escrow() public {
        uint256 id = sell(10, 0);
        VM.warp(settlement.lastPostedAt() + RELEASE_S - 1);
        VM.expectPartialRevert(EnergyTrading.NotSettled.selector);
        trading.returnEscrow(id);
        VM.warp(settlement.lastPostedAt() + RELEASE_S);
        trading.returnEscrow(id);
        assertEq(settlement.depositedNano(2), 10 * 400_000);
    }

    /// @dev The first header may be of any interval: a later one that is not final may yet be voided for an earlier.
    function test_a_first_header_that_is_not_final_settles_nothing() public {
        uint256 id = sell(10, 0);
        Messages.Header memory header = nextHeader(emptyRoot());
        header.interval = trading.intervalOf(id) + GRACE + 1;
        ISettlement.HeaderProof memory proof = post(header);
        VM.expectPartialRevert(EnergyTrading.NotSettled.selector);
        trading.returnEscrow(id);
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
        trading.returnEscrow(id);
    }

    function test_escrow_comes_back_and_leaves_while_the_settlement_is_halted() public {
        uint256 id = sell(10, 0);
        finaliseUntil(trading.intervalOf(id) + GRACE);
        VM.prank(GOVERNANCE);
        settlement.halt();
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.deposit(2, 1);
        trading.returnEscrow(id);
        uint256 had = token.balanceOf(BO);
        VM.startPrank(BO);
        trading.withdrawFree(1);
        settlement.withdraw(2, 10 * 400_000, leafOf(2, 0, 0), emptyPath());
        VM.stopPrank();
        assertEq(token.balanceOf(BO) - had, 10 * 400_000 + 1);
    }

    /// @dev The hole that escrow closes: Ada buys dear from her own second account in an auction, which the operator
    /// must hold, and the second account takes the money out.
    function test_a_debt_of_a_forced_order_is_met_before_its_trader_gets_anything() public {
        refusesOrder(ADA, 1_000, 10_000_000, IEnergyTrading.OrderType.BUY, 1_000 * 10_000_000);
        trading.fund(1, 1_000 * 10_000_000);
        uint256 id = buy(1_000, 10_000_000);
        uint64 last = trading.intervalOf(id) + GRACE;
        while (nextHeader(emptyRoot()).interval < last) {
            post(nextHeader(emptyRoot()));
        }
        int128 cost = 9_000 * 1_000_000;
        (Messages.BalanceLeaf memory ada, Messages.BalanceLeaf memory bo) = (leafOf(1, -cost, 0), leafOf(2, cost, 0));
        (bytes32 root, bytes memory path) = balancesOf(ada, bo, 1);
        finalised(root);
        trading.returnEscrow(id);
        (, bytes memory bosPath) = balancesOf(ada, bo, 2);
        VM.prank(BO);
        settlement.withdraw(2, uint128(cost), bo, bosPath);
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(1_000 * 1_000_000)));
        settlement.withdraw(1, 1_000 * 1_000_000 + 1, ada, path);
        settlement.withdraw(1, 1_000 * 1_000_000, ada, path);
        VM.stopPrank();
        assertEq(settlement.pooledNano(), 0);
    }

    // Matches without the operator.

    function test_partial_matches_move_each_part_of_a_lock_once() public {
        waitForEscape();
        trading.fund(1, 1_000 * 300_000);
        uint256 b = buy(1_000, 300_000);
        uint256 s = sell(700, 100_000);
        assertEq(trading.freeNano(1), 0);
        trading.matchOrders(b, s);
        assertEq(trading.freeNano(1), 700 * 100_000);
        assertEq(trading.lockedNano(b), 300 * 300_000);
        assertEq(trading.lockedNano(s), 700 * 300_000);
        uint256 other = sell(500, 200_000);
        trading.matchOrders(b, other);
        assertEq(trading.freeNano(1), 700 * 100_000 + 300 * 50_000);
        assertEq(trading.lockedNano(b), 0);
        assertEq(trading.lockedNano(other), 500 * 200_000);

        VM.warp(uint256(trading.intervalOf(s) + 1) * 900);
        uint256 free = trading.freeNano(2);
        trading.settleTransaction(1);
        assertEq(trading.freeNano(2), free + 700 * 300_000);
        assertEq(trading.lockedNano(s), 0);
        // What was sold is freed when it is paid, what was not sold becomes a deposit: in either order.
        finaliseUntil(trading.intervalOf(s) + GRACE);
        trading.returnEscrow(other);
        assertEq(settlement.depositedNano(2), 200 * 200_000);
        assertEq(trading.lockedNano(other), 300 * 200_000);
        trading.settleTransaction(2);
        assertEq(trading.lockedNano(other), 0);
        assertEq(trading.freeNano(2), ESCROW - 200 * 200_000);
        uint256[3] memory done = [b, s, other];
        for (uint256 i = 0; i < 3; i++) {
            VM.expectRevert(abi.encodeWithSelector(EnergyTrading.NothingLocked.selector, done[i]));
            trading.returnEscrow(done[i]);
        }
        assertEq(token.balanceOf(address(trading)), trading.freeNano(1) + trading.freeNano(2) + 100);
    }

    function test_the_rest_of_a_match_is_returned_like_any_order() public {
        waitForEscape();
        trading.fund(1, 1_000 * 300_000);
        (uint256 b, uint256 s) = (buy(1_000, 300_000), sell(400, 300_000));
        trading.matchOrders(b, s);
        VM.prank(ADA);
        trading.cancelOrder(b);
        assertEq(trading.lockedNano(b), 600 * 300_000);
        assertEq(trading.freeNano(1), 0);
        finaliseUntil(trading.intervalOf(b) + GRACE);
        trading.returnEscrow(b);
        assertEq(settlement.depositedNano(1), 600 * 300_000);
        trading.settleTransaction(1);
        assertEq(trading.lockedNano(b) + trading.lockedNano(s), 0);
        assertEq(trading.freeNano(2), ESCROW);
    }

    function testFuzz_two_accounts_get_out_what_they_put_in(uint32 bought, uint32 sold, uint16 bid, uint16 asked)
        public
    {
        VM.assume(bought > 0 && sold > 0 && bought <= 1_000_000_000 && sold <= 1_000_000_000 && bid >= asked);
        waitForEscape();
        token.mint(address(this), ESCROW);
        trading.fund(1, ESCROW - 100);
        (uint256 b, uint256 s) = (buy(bought, uint256(bid) * 100), sell(sold, uint256(asked) * 100));
        trading.matchOrders(b, s);
        finaliseUntil(trading.intervalOf(s) + GRACE);
        uint256 had = token.balanceOf(BO);
        trading.settleTransaction(1);
        uint256 paid = token.balanceOf(BO) - had;
        try trading.returnEscrow(b) {} catch {}
        try trading.returnEscrow(s) {} catch {}
        assertEq(trading.lockedNano(b) + trading.lockedNano(s), 0);
        assertEq(trading.freeNano(1) + settlement.depositedNano(1) + paid, ESCROW - 100);
        assertEq(trading.freeNano(2) + settlement.depositedNano(2), ESCROW);
        assertEq(token.balanceOf(address(trading)), trading.freeNano(1) + trading.freeNano(2) + 100);
    }
}
